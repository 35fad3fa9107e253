"""Losses: concepts beside the vocabulary equal a grown vocabulary, and batch neighbours change nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.base import GenerationSample, Losses, MaskDraw, Turn, UnderstandingSample
from unictokens.backbones.showo.attention import drawing_mask, understanding_mask
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import Prompt, Rows, identifier, introduction, join, subject
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError, DataError

Make = Callable[..., ConceptTokens]


def understanding(codes_N: Tensor, layout: TokenLayout, concepts: tuple[int, ...] = (0,)) -> UnderstandingSample:
    first = Turn(
        join(introduction(layout, ("shared",)), "\nIs ", identifier(layout), " here?"),
        join("Yes, ", identifier(layout), " is."),
    )
    return UnderstandingSample(codes_N, (first, Turn(("What colour?",), ("Brown.",))), concepts)


def generation(codes_N: Tensor, layout: TokenLayout, concepts: tuple[int, ...] = (0,)) -> GenerationSample:
    return GenerationSample(codes_N, join("A photo of ", subject(layout), "."), concepts)


def mean_loss(losses: Losses) -> Tensor:
    return (
        losses.understanding_total_U.sum() / losses.understanding_count_U.sum()
        + losses.generation_total_G.sum() / losses.generation_count_G.sum()
    )


def test_rows_beside_the_vocabulary_equal_a_grown_vocabulary(
    tiny_backbone: ShowO,
    concept: Make,
    codes: Callable[[int], Tensor],
    mask_draw: Callable[..., MaskDraw],
    layout: TokenLayout,
) -> None:
    backbone, ids = tiny_backbone, tiny_backbone.vocabulary
    rows = [tensor.requires_grad_() for tensor in concept(1).tensors()]
    bank = ConceptBank.stack([ConceptTokens(layout, *rows)])
    batch = backbone.collate([understanding(codes(0), layout)], [(generation(codes(1), layout), mask_draw(2))])
    mean_loss(backbone.losses(batch, bank)).backward()

    grown = LanguageModel(backbone.config.phi, ids.size + layout.total)
    state = {name: tensor.clone() for name, tensor in backbone.language_model.state_dict().items()}
    names = ("showo.model.embed_tokens.weight", "showo.lm_head.weight", "showo.lm_head.bias")
    for name, tensor in zip(names, concept(1).tensors(), strict=True):
        state[name] = torch.cat([state[name], tensor.detach()])
    grown.load_state_dict(state)
    bare, nobody = ConceptBank.empty(grown.width), torch.zeros(1, 1, dtype=torch.long)
    expected = torch.zeros(())
    for block, mask, shift in (
        (
            batch.understanding,
            understanding_mask(backbone.config.num_vq_tokens + 3, batch.understanding.ids_BT.shape[1]),
            1,
        ),
        (batch.generation, drawing_mask(batch.generation.ids_BT, ids.pad, ids.soi, ids.eoi), 0),
    ):
        h_TD = grown.hidden(grown.embed(block.ids_BT, bare, nobody), mask)[0]
        logits_TV = grown.logits(h_TD, bare, nobody.expand(len(h_TD), 1))
        labels_T = block.labels_BT[0].clone()
        if shift:
            logits_TV, labels_T = logits_TV[:-1], labels_T[1:]
        else:
            labels_T[: labels_T.tolist().index(ids.soi)] = IGNORE
        expected = expected + functional.cross_entropy(logits_TV, labels_T)
    expected.backward()
    got = mean_loss(backbone.losses(batch, bank))
    assert torch.allclose(got, expected, rtol=1e-6)
    for tensor, table in zip(rows, (grown.embed_VD, grown.head_VD, grown.bias_V), strict=True):
        assert tensor.grad is not None and table.grad is not None
        assert torch.allclose(tensor.grad, table.grad[ids.size :], atol=1e-6)
        assert float(tensor.grad.abs().max()) > 1e-4


def test_neighbours_and_padding_change_no_loss(
    tiny_backbone: ShowO,
    concept: Make,
    codes: Callable[[int], Tensor],
    mask_draw: Callable[..., MaskDraw],
    layout: TokenLayout,
) -> None:
    small = TokenLayout(shared=1, generation=1, understanding=0)
    bank = ConceptBank.stack([concept(1), concept(2, small)])
    asked = [
        understanding(codes(0), layout, (0,)),
        understanding(codes(1), small, (1,)),
        UnderstandingSample(codes(2), (Turn(("Hi?",), ("No.",)),), ()),
    ]
    drawn = [
        (generation(codes(3), layout, (0,)), mask_draw(3)),
        (generation(codes(4), small, (1,)), mask_draw(4, dropped=True)),
    ]
    together = tiny_backbone.losses(tiny_backbone.collate(asked, drawn), bank)
    for row, sample in enumerate(asked):
        alone = tiny_backbone.losses(tiny_backbone.collate([sample], []), bank)
        assert torch.allclose(alone.understanding_total_U[0], together.understanding_total_U[row], rtol=1e-5)
        assert alone.understanding_count_U[0] == together.understanding_count_U[row]
    for row, pair in enumerate(drawn):
        alone = tiny_backbone.losses(tiny_backbone.collate([], [pair]), bank)
        assert torch.allclose(alone.generation_total_G[0], together.generation_total_G[row], rtol=1e-5)


def test_a_concept_is_the_same_at_any_place_in_the_bank(
    tiny_backbone: ShowO, concept: Make, codes: Callable[[int], Tensor], layout: TokenLayout
) -> None:
    first = tiny_backbone.collate([understanding(codes(0), layout, (0,))], [])
    last = tiny_backbone.collate([understanding(codes(0), layout, (2,))], [])
    alone = tiny_backbone.losses(first, ConceptBank.stack([concept(5)]))
    among = tiny_backbone.losses(last, ConceptBank.stack([concept(1), concept(2), concept(5)]))
    assert torch.allclose(alone.understanding_total_U, among.understanding_total_U, rtol=1e-5)


def test_terms_are_answers_and_hidden_codes_only(
    tiny_backbone: ShowO,
    concept: Make,
    codes: Callable[[int], Tensor],
    mask_draw: Callable[..., MaskDraw],
    layout: TokenLayout,
) -> None:
    draw = mask_draw(2)
    batch = tiny_backbone.collate([understanding(codes(0), layout)], [(generation(codes(1), layout), draw)])
    losses = tiny_backbone.losses(batch, ConceptBank.stack([concept(1)]))
    answers = [join(" Yes, ", identifier(layout), " is."), (" Brown.",)]
    assert int(losses.understanding_count_U) == sum(len(tiny_backbone.tokenize(answer)) + 1 for answer in answers)
    assert int(losses.generation_count_G) == int(draw.masked_N.sum()) + 2


def test_dropped_condition_hides_the_prompt(
    tiny_backbone: ShowO, codes: Callable[[int], Tensor], mask_draw: Callable[..., MaskDraw]
) -> None:
    bank = ConceptBank.empty(32)
    draws = mask_draw(2, dropped=True)

    def loss(prompt: Prompt, draw: MaskDraw) -> Tensor:
        batch = tiny_backbone.collate([], [(GenerationSample(codes(1), prompt, ()), draw)])
        return tiny_backbone.losses(batch, bank).generation_total_G

    assert torch.equal(loss(("a dog",), draws), loss(("a completely different and longer text",), draws))
    seen = replace(draws, dropped=False)
    assert not torch.allclose(loss(("a dog",), seen), loss(("a red hat",), seen), rtol=1e-4)


def test_only_concept_rows_get_gradients(
    tiny_backbone: ShowO, concept: Make, codes: Callable[[int], Tensor], layout: TokenLayout
) -> None:
    rows = ConceptTokens(layout, *(tensor.requires_grad_() for tensor in concept(1).tensors()))
    batch = tiny_backbone.collate([understanding(codes(0), layout)], [])
    tiny_backbone.losses(batch, ConceptBank.stack([rows])).understanding_total_U.sum().backward()
    assert all(parameter.grad is None for parameter in tiny_backbone.language_model.parameters())
    used = set(layout.rows("identifier", "shared"))
    assert rows.embed_KD.grad is not None
    assert {int(row) for row in rows.embed_KD.grad.abs().sum(1).nonzero()} == used


def test_impossible_samples_are_refused(
    tiny_backbone: ShowO, concept: Make, codes: Callable[[int], Tensor], layout: TokenLayout
) -> None:
    bank = ConceptBank.stack([concept(1)])

    def losses(prompt: Prompt, concepts: tuple[int, ...]) -> Losses:
        sample = UnderstandingSample(codes(0), (Turn(prompt, ("Yes.",)),), concepts)
        return tiny_backbone.losses(tiny_backbone.collate([sample], []), bank)

    for prompt, concepts, reason in (
        ((Rows((layout.total,)),), (0,), "8 rows"),
        ((Rows((0,), 1),), (0,), "concept number 1"),
        ((Rows((0,)),), (4,), "not among"),
    ):
        with pytest.raises(ConceptError, match=reason):
            losses(prompt, concepts)
    with pytest.raises(DataError, match="shorten"):
        losses(("far too long " * 200,), (0,))
    with pytest.raises(DataError, match="turns"):
        tiny_backbone.collate([UnderstandingSample(codes(0), ())], [])
