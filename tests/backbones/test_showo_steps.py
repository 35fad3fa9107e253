"""Drawing and answering in steps: whoever joins or leaves in between, each request gets what it gets alone, bit for bit."""

from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from unictokens.backbones.base import AnswerRequest, Decoding, GenerationRequest, Sampling, Turn
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.stepper import ShowOStepper
from unictokens.backbones.steps import Canvas, Speech
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import Prompt, identifier, introduction, join, subject
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import RequestError
from unictokens.sampling.maskgit import HIDDEN

Concept = Callable[..., ConceptTokens]
Codes = Callable[[int], Tensor]


@pytest.fixture
def stepper(tiny_backbone: ShowO) -> ShowOStepper:
    return ShowOStepper(tiny_backbone)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def drawings(layout: TokenLayout, concept: Concept) -> list[tuple[Prompt, list[ConceptTokens], Sampling]]:
    """Short and long texts, guided and not, with one concept, two and none."""
    both = join(subject(layout), " beside ", subject(layout, concept=1), ".")
    return [
        (join("A photo of ", subject(layout), "."), [concept(1)], Sampling(steps=5, guidance=2.0)),
        (("A dog.",), [], Sampling(steps=3, guidance=0.0)),
        (both, [concept(2), concept(1)], Sampling(steps=7, guidance=5.0, temperature=2.0)),
        (("What a very long and winding road to the house of the cat.",), [], Sampling(steps=4, guidance=1.0)),
    ]


def answers(
    layout: TokenLayout, concept: Concept, codes: Codes
) -> list[tuple[Prompt, Tensor | None, list[ConceptTokens], Decoding]]:
    asked = join(introduction(layout, ("shared", "understanding")), "\nIs ", identifier(layout), " in the photo?")
    return [
        (asked, codes(0), [concept(1)], Decoding(max_tokens=9)),
        (("Hi?",), None, [], Decoding(max_tokens=14, top_k=20, temperature=1.5)),
        (asked, codes(1), [concept(2)], Decoding(max_tokens=20, top_k=1000)),
        (("What colour is the cat? " * 3,), codes(0), [], Decoding(max_tokens=6)),
        (asked, codes(0), [concept(3)], Decoding(max_tokens=30, top_k=7)),
    ]


def test_drawings_that_join_and_leave_are_those_drawn_alone(
    tiny_backbone: ShowO, stepper: ShowOStepper, concept: Concept, layout: TokenLayout
) -> None:
    wanted = [
        tiny_backbone.generate(
            [GenerationRequest(prompt, seed, tuple(range(len(rows))))],
            ConceptBank.stack(rows) if rows else ConceptBank.empty(32),
            sampling,
        )[0].codes_N
        for seed, (prompt, rows, sampling) in enumerate(drawings(layout, concept))
    ]
    waiting = list(enumerate(drawings(layout, concept)))
    under_way: dict[int, Canvas] = {}
    done: dict[int, Tensor] = {}
    while waiting or under_way:
        if waiting:
            seed, (prompt, rows, sampling) = waiting.pop(0)
            under_way[seed] = stepper.open_canvas(stepper.drawing_ids(prompt), rows, sampling, seed)
        stepper.draw(list(under_way.values()))
        done |= {seed: canvas.codes_N for seed, canvas in under_way.items() if canvas.finished}
        under_way = {seed: canvas for seed, canvas in under_way.items() if not canvas.finished}
    assert all(torch.equal(done[seed], codes_N) for seed, codes_N in enumerate(wanted))


def test_a_step_among_others_has_the_logits_of_a_step_alone(
    stepper: ShowOStepper, concept: Concept, layout: TokenLayout
) -> None:
    canvases = [
        stepper.open_canvas(stepper.drawing_ids(prompt), rows, sampling, 0)
        for prompt, rows, sampling in drawings(layout, concept)
    ]
    states = [canvas.state for canvas in canvases]
    codes_BN = torch.randint(0, 64, (len(states), 16), generator=Generator().manual_seed(1))
    codes_BN[torch.rand(codes_BN.shape, generator=Generator().manual_seed(2)) < 0.5] = HIDDEN
    codes_BN[1] = codes_BN[1].clamp(min=0)
    codes_BN[1, 3] = HIDDEN  # a product of one row
    together = stepper.easel._logits(codes_BN, states, 0).split((codes_BN == HIDDEN).sum(1).tolist())
    for row, state in enumerate(states):
        assert torch.equal(stepper.easel._logits(codes_BN[row : row + 1], [state], 0), together[row])


def test_answers_that_join_and_leave_are_those_given_alone(
    tiny_backbone: ShowO, stepper: ShowOStepper, concept: Concept, layout: TokenLayout, codes: Codes
) -> None:
    asked = answers(layout, concept, codes)
    wanted = [
        tiny_backbone.answer(
            [AnswerRequest(question, shown, tuple(range(len(rows))), ("bo",) * len(rows))],
            ConceptBank.stack(rows) if rows else ConceptBank.empty(32),
            decoding,
            Generator().manual_seed(seed),
        )[0]
        for seed, (question, shown, rows, decoding) in enumerate(asked)
    ]

    def open_speech(seed: int) -> Speech:
        question, shown, rows, decoding = asked[seed]
        ids = stepper.question_ids([Turn(question)], decoding.max_tokens)
        return stepper.open_speech(ids, shown, rows, ("bo",) * len(rows), decoding, seed)

    speeches: list[Speech] = []
    heard: list[str] = []
    while not all(speech.stopped for speech in speeches) or len(speeches) < len(asked):
        if len(speeches) < len(asked):
            speeches.append(open_speech(len(speeches)))
            heard.append("")
        stepper.speak()
        for at, speech in enumerate(speeches):
            heard[at] += stepper.heard(speech)
    assert [stepper.text(speech) for speech in speeches] == wanted == heard
    for seed, speech in enumerate(speeches):
        alone = open_speech(seed)
        while not alone.stopped:
            stepper.speak()
        assert alone.ids == speech.ids


def test_who_leaves_early_disturbs_nobody(
    stepper: ShowOStepper, concept: Concept, layout: TokenLayout, codes: Codes
) -> None:
    question, shown, rows, _ = answers(layout, concept, codes)[0]
    ids, how = stepper.question_ids([Turn(question)], 12), Decoding(max_tokens=12, top_k=50)
    alone = stepper.open_speech(ids, shown, rows, ("bo",), how, 7)
    while not alone.stopped:
        stepper.speak()
    first, kept = (stepper.open_speech(ids, shown, rows, ("bo",), how, seed) for seed in (1, 7))
    stepper.speak()
    stepper.close_speech(first)
    stepper.close_speech(first)
    while not kept.stopped:
        stepper.speak()
    assert kept.ids == alone.ids


def test_inpainting_keeps_known_codes_and_counts_only_the_others(stepper: ShowOStepper, codes: Codes) -> None:
    start_N = codes(3)
    start_N[4:9] = HIDDEN
    canvas = stepper.open_canvas(
        stepper.drawing_ids(("A dog.",)), [], Sampling(steps=4, guidance=1.0), seed=5, start_N=start_N
    )
    hidden: list[int] = []
    while not canvas.finished:
        hidden.append(int((canvas.state.current_N == HIDDEN).sum()))
        stepper.draw([canvas])
    known = start_N != HIDDEN
    assert torch.equal(canvas.codes_N[known], codes(3)[known]) and not bool((canvas.codes_N == HIDDEN).any())
    assert hidden == [5, 4, 3, 1]
    with pytest.raises(RequestError, match="nothing to draw"):
        stepper.open_canvas(stepper.drawing_ids(("A dog.",)), [], Sampling(steps=4), 5, codes(3))


def test_too_long_is_refused_with_the_room_there_is(stepper: ShowOStepper) -> None:
    with pytest.raises(RequestError, match="room for 94"):
        stepper.drawing_ids(("dog " * 100,))
    with pytest.raises(RequestError, match="room for 393"):
        stepper.question_ids([Turn(("dog " * 500,))], 100)
    with pytest.raises(RequestError, match="at least one turn"):
        stepper.question_ids([], 5)


def test_non_finite_numbers_break_one_request_alone(
    stepper: ShowOStepper, concept: Concept, layout: TokenLayout
) -> None:
    poison = concept(1)
    poison.embed_KD[:] = torch.finfo(torch.float32).max
    specs = drawings(layout, concept)
    prompt, rows, sampling = specs[0]
    ids = stepper.drawing_ids(prompt)
    alone = stepper.open_canvas(ids, rows, sampling, 3)
    stepper.draw([alone])
    bad, good = stepper.open_canvas(ids, [poison], sampling, 3), stepper.open_canvas(ids, rows, sampling, 3)
    stepper.draw([bad, good])
    assert "non-finite" in bad.broken and not good.broken
    assert torch.equal(good.codes_N, alone.codes_N)
    question = stepper.question_ids([Turn(join(introduction(layout, ("shared",)), " Hi?"))], 5)
    speech = stepper.open_speech(question, None, [poison], ("bo",), Decoding(max_tokens=5), 0)
    assert "non-finite" in speech.broken and not speech.stopped


def test_a_conversation_has_turns_as_in_training(tiny_backbone: ShowO, stepper: ShowOStepper) -> None:
    turns = [Turn(("Is it a dog?",), ("Yes.",)), Turn(("What colour?",))]
    ids = stepper.question_ids(turns, 5)
    eot, encode = tiny_backbone.vocabulary.eot, tiny_backbone.tokenizer.encode_text
    assert ids == [
        eot,
        *encode("USER: Is it a dog? ASSISTANT:"),
        *encode(" Yes."),
        eot,
        *encode("USER: What colour? ASSISTANT:"),
    ]
    assert stepper.question_ids(turns[1:], 5) == tiny_backbone.sequences.question(turns[1].question, True)
