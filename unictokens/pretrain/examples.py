"""Lessons in following examples: what a request must have asked, or how an answer is written into it, is shown by other requests.

A large model follows examples because its texts are full of them (OmniPersona, section 3.2, relies on it). A small base has only
what it is taught, so this teaches it, in the words of `unictokens.replay.exemplars`. Every row has conventions of its own, of which
one is the replay's: without an example nobody can know which one holds, and each kind of request may have another.
"""

import re

import numpy as np

from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.data.toyland.phrases import PLACE_PHRASES
from unictokens.data.toyland.world import ACCESSORIES, COLOURS, pick, random_name
from unictokens.replay.exemplars import NOTHING, Exemplar, composing_after, parsing_after
from unictokens.replay.rules import with_article
from unictokens.replay.settings import MOST

WRITING = 0.35
"""Share of rows about writing an answer into a request; the others are about asking."""
TOGETHER = 0.5
"""Share of rows in which all kinds of requests have the convention of the same number."""
STARTS = ("A photo of", "A picture of", "A drawing of")
OWNERS = ("its", "his", "her")
SUBJECTS = {"its": "it", "his": "he", "her": "she"}
THINGS = (
    *(each for each in ACCESSORIES if each != "none"),
    *(
        "cup",
        "coat",
        "bed",
        "ball",
        "bag",
        "boat",
        "kite",
        "book",
        "lamp",
        "chair",
        "bike",
        "tie",
        "ring",
        "shirt",
        "box",
    ),
)
CHOICES = ("toy", "snack", "game", "favourite fruit", "favourite drink", "favourite toy")
CHOSEN = ("pear", "plum", "melon", "small boat", "big ball", "red kite", "cup of tea", "puzzle", "carrot", "drum")
VERBS = ("live", "sleep", "work", "play", "eat", "hide")
PLACES = (
    *PLACE_PHRASES.values(),
    "under the table",
    "in a library",
    "by the window",
    "behind the house",
    "on the roof",
)
WHOLES = ("in the rain", "in the sun", "from behind", "at night", "beside a tree")

ASKED: dict[str, tuple[str, ...]] = {
    "thing": (
        "What colour is <{who}>'s {what}?",
        "Is there a {what}?",
        "The {what}, please.",
        "Tell me of the {what}.",
        "Which {what}?",
    ),
    "choice": (
        "What is <{who}>'s {what}?",
        "Is there a {what}?",
        "The {what}, please.",
        "Tell me of the {what}.",
        "Which {what}?",
    ),
    "place": (
        "Where does <{who}> {what}?",
        "Is there a place?",
        "The place, please.",
        "Tell me where.",
        "Which place?",
    ),
    "nothing": (NOTHING, "No question.", "It is all said.", "Go on.", "Ask me later."),
}
"""Conventions of asking by kind of request; the first are the replay's."""
WRITTEN = ("{begun} {found}.", "{whole} {answer}", "{found}.")
"""Conventions of writing; the first is the replay's."""
KINDS = ("thing", "thing", "place", "place", "choice", "nothing")
"""Requests of an example or a row by how often they come."""
LINE = re.compile(r"(?<=^Question:)( [^\n]+)|(?<=^Prompt:)( [^\n]+)", re.MULTILINE)
"""What an example has that the row could have asked for."""


def example_row(sequences: Sequences, room: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Ids and labels of a question with 0 to 6 examples and its answer; at most `room` ids, for which examples are left out.

    Labels are the answer, and in each example what answers it: a row teaches following all numbers of examples up to its own.
    """
    writing = bool(rng.random() < WRITING)
    kinds = [kind for kind in KINDS if kind != "nothing"] if writing else list(KINDS)
    count = len(WRITTEN) if writing else len(ASKED["thing"])
    same = int(rng.integers(count)) if writing or rng.random() < TOGETHER else None
    way = {kind: int(rng.integers(count)) if same is None else same for kind in ASKED}
    made = [example(kinds[int(rng.integers(len(kinds)))], way, rng) for _ in range(1 + int(rng.integers(MOST + 1)))]
    while True:
        *shown, last = made
        told = composing_after(shown, last.request, last.answer) if writing else parsing_after(shown, last.request)
        answer = last.prompt if writing else last.question
        ids, labels = _row(sequences, told, answer)
        if len(ids) <= room or not shown:
            return ids, labels
        made = made[1:]


def example(kind: str, way: dict[str, int], rng: np.random.Generator) -> Exemplar:
    """A request of a kind with what is to be asked, answered and written, by the conventions `way` (numbers by kind)."""
    who, owner = random_name(rng), pick(rng, OWNERS)
    start = f"{pick(rng, STARTS)} <{who}>"
    asked = ASKED[kind][way[kind]]
    if kind == "nothing":
        thing = f"with {with_article(f'{pick(rng, COLOURS)} {pick(rng, THINGS)}')}"
        said = pick(rng, (pick(rng, WHOLES), pick(rng, PLACES), thing))
        return Exemplar("", f"{start} {said}.", asked)
    if kind == "place":
        what, found = pick(rng, VERBS), pick(rng, PLACES)
        begun, end = start, f"where {SUBJECTS[owner]} {what}s"
        answers = (f"<{who}> {what}s {found}.", f"{found.capitalize()}.")
    elif kind == "thing":
        what, colour = pick(rng, THINGS), pick(rng, COLOURS)
        found, verb = with_article(f"{colour} {what}"), pick(rng, ("with", "wearing", "beside"))
        begun, end = f"{start} {verb}", f"{owner} {what}"
        answers = (f"<{who}>'s {what} is {colour}.", f"<{who}> has {found}.", f"{colour.capitalize()}.")
    else:
        what, found = pick(rng, CHOICES), with_article(pick(rng, CHOSEN))
        begun, end = f"{start} {pick(rng, ('with', 'and', 'near'))}", f"{owner} {what}"
        answers = (f"<{who}>'s {what} is {found}.", f"{found.capitalize()}.")
    whole, answer = f"{begun} {end}.", pick(rng, answers)
    prompt = WRITTEN[way[kind] % len(WRITTEN)].format(begun=begun, found=found, whole=whole, answer=answer)
    return Exemplar("", whole, asked.format(who=who, what=what), answer, prompt)


def _row(sequences: Sequences, told: str, answer: str) -> tuple[list[int], list[int]]:
    # The tokenizer breaks after a colon and before the end of a line, so that the parts have the ids of the whole.
    parts: list[tuple[str, bool]] = [("USER: ", False)]
    at = 0
    for line in LINE.finditer(told):
        parts += [(told[at : line.start()], False), (line[0], True)]
        at = line.end()
    parts += [(f"{told[at:]} ASSISTANT:", False), (f" {answer}", True)]
    parts[:2] = [(parts[0][0] + parts[1][0], False)]
    ids: list[int] = []
    labels: list[int] = []
    for text, asked in parts:
        more = sequences.text((text,))
        ids += more
        labels += more if asked else [IGNORE] * len(more)
    eot = sequences.vocabulary.eot
    return [*ids, eot], [*labels, eot]
