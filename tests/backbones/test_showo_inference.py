"""Answers and drawings: a cache, a batch and neighbours change nothing."""

from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from unictokens.backbones.base import AnswerRequest, Decoding, GenerationRequest, Sampling
from unictokens.backbones.showo.attention import drawing_mask, understanding_mask
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.drawing import DrawingTask
from unictokens.backbones.showo.weights import random_backbone
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import identifier, introduction, join, subject
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConfigError

GREEDY = Decoding(max_tokens=10)
SAMPLING = Sampling(steps=5, guidance=2.0)


@pytest.fixture
def bank(concept: Callable[..., ConceptTokens]) -> ConceptBank:
    return ConceptBank.stack([concept(1), concept(2)])


@pytest.fixture
def questions(codes: Callable[[int], Tensor], layout: TokenLayout) -> list[AnswerRequest]:
    long = join(introduction(layout, ("shared", "understanding")), "\nIs ", identifier(layout), " in the photo?")
    return [
        AnswerRequest(long, codes(0), (0,), ("bo",)),
        AnswerRequest(("Hi?",), None, ()),
        AnswerRequest(long, codes(1), (1,), ("miru",)),
    ]


def test_cache_gives_the_answer_of_full_passes(
    tiny_backbone: ShowO, bank: ConceptBank, questions: list[AnswerRequest]
) -> None:
    backbone, request = tiny_backbone, questions[0]
    assert request.codes_N is not None
    ids = backbone.sequences.image_prefix(backbone.sequences.code_ids(request.codes_N))
    prefix = len(ids)
    ids += backbone.sequences.question(request.question, backbone.answer_start)
    asked, concepts_BS = len(ids), torch.zeros(1, 1, dtype=torch.long)
    would_win: list[bool] = []
    for _ in range(GREEDY.max_tokens):
        x_BTD = backbone.language_model.embed(torch.tensor([ids]), bank, concepts_BS)
        h_BTD = backbone.language_model.hidden(x_BTD, understanding_mask(prefix, len(ids)))
        logits_BV = backbone.language_model.logits(h_BTD[:, -1], bank, concepts_BS)
        soft_tokens = slice(backbone.vocabulary.size + 1, None)
        would_win.append(bool(logits_BV[:, soft_tokens].amax() == logits_BV.amax()))
        logits_BV[:, soft_tokens] = float("-inf")
        ids.append(int(backbone.vocabulary.ids(logits_BV.argmax(1), bank.rows)))
        if ids[-1] == backbone.vocabulary.eot:
            break
    pieces: list[str] = []
    answer = backbone.answer([request], bank, GREEDY, on_token=lambda row, piece: pieces.append(piece))
    from unictokens.backbones.showo.answering import Answering

    answering = Answering(backbone.language_model, backbone.vocabulary, backbone.tokenizer, bank)
    assert answer == [answering.text(ids[asked:], ("bo",)).strip()]
    assert any(would_win) and "<bo>" in answer[0] and "<token_" not in answer[0], "only the identifier can be said"
    assert "".join(pieces).strip() == answer[0].rstrip("\ufffd").strip()


def test_answers_do_not_depend_on_neighbours(
    tiny_backbone: ShowO, bank: ConceptBank, questions: list[AnswerRequest]
) -> None:
    together = tiny_backbone.answer(questions, bank, GREEDY)
    assert together == [tiny_backbone.answer([request], bank, GREEDY)[0] for request in questions]
    assert together[0] != together[2]


def test_answers_name_the_concept(tiny_backbone: ShowO, bank: ConceptBank) -> None:
    from unictokens.backbones.showo.answering import Answering

    ids = tiny_backbone.vocabulary
    answering = Answering(tiny_backbone.language_model, ids, tiny_backbone.tokenizer, bank)
    told = [*tiny_backbone.tokenizer.encode_text("Yes, "), ids.row(1, 0), ids.row(0, 4), ids.eot]
    assert answering.text(told, ("bo", "miru")) == "Yes, <miru><token_3>"


def test_sampled_answers_repeat_with_their_generator(
    tiny_backbone: ShowO, bank: ConceptBank, questions: list[AnswerRequest]
) -> None:
    decoding = Decoding(max_tokens=8, top_k=20, temperature=1.5)
    first = tiny_backbone.answer(questions, bank, decoding, Generator().manual_seed(1))
    assert first == tiny_backbone.answer(questions, bank, decoding, Generator().manual_seed(1))
    assert first != tiny_backbone.answer(questions, bank, decoding, Generator().manual_seed(2))


def test_question_without_photo_sees_a_black_one(tiny_backbone: ShowO, bank: ConceptBank) -> None:
    black_N = tiny_backbone.encode(-torch.ones(1, 3, 32, 32))[0]
    asked = [AnswerRequest(("What?",), None, ()), AnswerRequest(("What?",), black_N, ())]
    first, second = tiny_backbone.answer(asked, bank, GREEDY)
    assert first == second


def test_drawings_do_not_depend_on_neighbours(tiny_backbone: ShowO, bank: ConceptBank, layout: TokenLayout) -> None:
    prompt = join("A photo of ", subject(layout), ".")
    requests = [
        GenerationRequest(prompt, 3, (0,)),
        GenerationRequest(prompt, 3, (1,)),
        GenerationRequest(("A dog.",), 9, ()),
    ]
    together = tiny_backbone.generate(requests, bank, SAMPLING)
    for request, drawing in zip(requests, together, strict=True):
        assert torch.equal(tiny_backbone.generate([request], bank, SAMPLING)[0].codes_N, drawing.codes_N)
    assert not torch.equal(together[0].codes_N, together[1].codes_N)


def test_same_seed_same_drawing_other_seed_another(tiny_backbone: ShowO, bank: ConceptBank) -> None:
    drawn = [
        tiny_backbone.generate([GenerationRequest(("A dog.",), seed, ())], bank, SAMPLING)[0] for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0].codes_N, drawn[1].codes_N)
    assert not torch.equal(drawn[0].codes_N, drawn[2].codes_N)


def test_text_read_once_gives_the_logits_of_full_passes(
    tiny_backbone: ShowO, bank: ConceptBank, layout: TokenLayout
) -> None:
    """One unguided step that hides nothing is an argmax away from the logits; compare the probabilities' draw."""
    backbone, ids = tiny_backbone, tiny_backbone.vocabulary
    text = backbone.tokenize(join("A photo of ", subject(layout), "."))
    N = backbone.config.num_vq_tokens
    task = DrawingTask(backbone.language_model, backbone.sequences, N, bank)
    drawing = task.run([text], [(0,)], Sampling(steps=1, guidance=0.0), Generator().manual_seed(4))[0]
    ids_BT = torch.tensor([backbone.sequences.drawing(text, [ids.mask] * N)])
    x_BTD = backbone.language_model.embed(ids_BT, bank, torch.zeros(1, 1, dtype=torch.long))
    h_BTD = backbone.language_model.hidden(x_BTD, drawing_mask(ids_BT, ids.pad, ids.soi, ids.eoi))
    logits_NC = backbone.language_model.frozen_logits(h_BTD[0, -N - 1 : -1], ids.code_offset, ids.mask)
    expected = torch.multinomial(logits_NC.softmax(-1), 1, generator=Generator().manual_seed(4))[:, 0]
    assert torch.equal(drawing.codes_N, expected)


def test_trace_holds_the_asked_steps(tiny_backbone: ShowO, bank: ConceptBank) -> None:
    sampling = Sampling(steps=6, guidance=1.0, trace=(2, 6))
    drawing = tiny_backbone.generate([GenerationRequest(("A dog.",), 1, ())], bank, sampling)[0]
    assert sorted(drawing.trace) == [2, 6]
    assert torch.equal(drawing.trace[6], drawing.codes_N)


def test_pictures_go_to_codes_and_back(tiny_backbone: ShowO) -> None:
    codes_BN = tiny_backbone.encode(torch.rand(2, 3, 32, 32, generator=Generator().manual_seed(0)) * 2 - 1)
    assert codes_BN.shape == (2, 16) and codes_BN.dtype == torch.int64
    assert tiny_backbone.decode(codes_BN).shape == (2, 3, 32, 32)
    with pytest.raises(ConfigError, match="resize"):
        tiny_backbone.encode(torch.zeros(1, 3, 64, 64))


def test_half_precision_keeps_rotary_frequencies(tiny_config, tiny_tokenizer) -> None:
    backbone = random_backbone(tiny_config, tiny_tokenizer, seed=3)
    before = backbone.language_model.showo.model.rotary_emb.inv_freq.clone()
    backbone.to("cpu", torch.bfloat16)
    after = backbone.language_model.showo.model.rotary_emb.inv_freq
    assert after.dtype == torch.float32 and torch.equal(before, after)
    assert backbone.language_model.embed_VD.dtype == torch.bfloat16
    assert backbone.answer([AnswerRequest(("Hi?",), None, ())], ConceptBank.empty(32), GREEDY)[0] is not None


def test_no_requests_no_work(tiny_backbone: ShowO, bank: ConceptBank) -> None:
    assert tiny_backbone.answer([], bank, GREEDY) == []
    assert tiny_backbone.generate([], bank, SAMPLING) == []
