"""Lessons in following examples: they are told as replay tells them, and only the examples say which convention holds."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_recipe import TINY, lessons_of

from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.backbones.showo.weights import load
from unictokens.pretrain.examples import ASKED, KINDS, WRITTEN, example, example_row
from unictokens.pretrain.language import Losses, Pupil
from unictokens.replay.exemplars import EXEMPLARS, composed, composing, parsed, parsing
from unictokens.replay.rules import references
from unictokens.replay.settings import MOST

ROOM = 2_000
FIRST = dict.fromkeys(ASKED, 0)


@pytest.fixture(scope="module")
def rows(base: Path) -> list[tuple[list[int], list[int]]]:
    sequences, rng = load(str(base)).sequences, np.random.default_rng(0)
    return [example_row(sequences, ROOM, rng) for _ in range(60)]


def test_a_row_has_the_ids_of_its_text_and_labels_what_could_be_asked(
    base: Path, rows: list[tuple[list[int], list[int]]]
) -> None:
    """Tokenized in parts or as a whole, a row is the same: so it is at inference, which tokenizes it as a whole."""
    backbone = load(str(base))
    for ids, labels in rows:
        text = backbone.tokenizer.decode(ids)
        assert backbone.sequences.text((text,)) == ids[:-1] and ids[-1] == backbone.vocabulary.eot
        told = backbone.tokenizer.decode([label for label in labels if label != IGNORE])
        answers = [line[0] or line[1] for line in re.findall(r"^Question:( .+)|^Prompt:( .+)", text, re.MULTILINE)]
        assert told == "".join(answers).replace(" ASSISTANT:", "")
        assert all(label in (IGNORE, place) for place, label in zip(ids, labels, strict=True))


def test_rows_are_told_as_replay_tells_them(base: Path, rows: list[tuple[list[int], list[int]]]) -> None:
    decode = load(str(base)).tokenizer.decode
    texts = [decode(ids) for ids, _ in rows]
    tasks = {text.split("\n")[0] for text in texts}
    assert tasks == {f"USER: {told.splitlines()[0]}" for told in (parsing("<bo>", 0), composing("<bo>", "Red.", 0))}
    counts = {text.count("Request:") - 1 for text in texts}
    assert counts == set(range(MOST + 1))


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_the_first_conventions_are_those_of_replay(kind: str) -> None:
    """What is asked and written by them passes the checks of replay, and the rules see the same need."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        made = example(kind, FIRST, rng)
        names = re.findall("<(.*?)>", made.request)
        wanted = references(made.request, names)
        asked, refused = parsed(made.question, names)
        assert not refused and len(asked) == len(wanted) == (kind != "nothing")
        if wanted:
            assert wanted[0].asked_by(made.question), made
            assert composed(made.prompt, made.request, made.answer) == (made.prompt, "")


def test_other_conventions_are_none_that_replay_understands() -> None:
    rng = np.random.default_rng(2)
    for number in range(1, len(ASKED["thing"])):
        for kind in ("thing", "place", "choice"):
            made = example(kind, dict.fromkeys(ASKED, number), rng)
            assert parsed(made.question, re.findall("<(.*?)>", made.request))[0] == ()
    assert len({len(ways) for ways in ASKED.values()}) == 1 and len(WRITTEN) > 1


def test_replays_own_examples_are_none_of_the_lessons() -> None:
    rng = np.random.default_rng(3)
    made = {example(kind, FIRST, rng).request for kind in KINDS for _ in range(300)}
    assert not made & {each.request for each in EXEMPLARS}


def test_a_row_that_is_too_long_loses_its_first_examples(base: Path) -> None:
    sequences, rng = load(str(base)).sequences, np.random.default_rng(0)
    longest = max(len(ids) for ids, _ in (example_row(sequences, ROOM, rng) for _ in range(60)))
    rng = np.random.default_rng(0)
    shortened = [example_row(sequences, longest // 2, rng) for _ in range(60)]
    assert max(len(ids) for ids, _ in shortened) <= longest // 2
    assert all(labels[-1] == sequences.vocabulary.eot for _, labels in shortened)


def test_a_step_has_examples_if_the_recipe_has(base: Path) -> None:
    """They follow from seed and step, have a loss, and a recipe without them makes the batches that it made before."""
    lessons = lessons_of(base)
    some = replace(lessons, recipe=replace(TINY.language, batch_examples=3))
    none = replace(lessons, recipe=replace(TINY.language, batch_examples=0))
    drawings, conversations, examples = some.batches(4)
    assert torch.equal(examples.ids_BT, some.examples(4).ids_BT) and len(examples.ids_BT) == 3
    assert not torch.equal(examples.ids_BT[:, :80], some.examples(5).ids_BT[:, :80])
    assert [batch.ids_BT.tolist() for batch in none.batches(4)] == [
        drawings.ids_BT.tolist(),
        conversations.ids_BT.tolist(),
    ]
    backbone = load(str(base))
    pupil = Pupil(backbone.config, backbone.magvit.quantize.embedding, backbone.vocabulary)
    losses = Losses(pupil, some, "cpu", some.recipe)
    loss = losses.examples(losses.ready(examples))
    loss.backward()
    assert loss.item() > 0
    assert any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in pupil.language.parameters())
