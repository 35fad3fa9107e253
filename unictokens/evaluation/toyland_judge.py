"""A judge for Toyland that needs no network: its few words are known, and a trained net reads its pictures.

An answer has the content of its expected answer (1), part of it (0.5) or nothing of it (0). A drawing shows the fact that its
prompt refers to (1), another thing in the fact's colour (0.5), or not (0): the prompt itself names the thing ("with its hat"), so that a
hat of any other colour shows obedience, not knowledge.
"""

import re
from collections.abc import Sequence

from unictokens.data.toyland.world import ACCESSORIES, CLASSES, COLOURS, PATTERNS, PLACES
from unictokens.evaluation.judges import Case, Ruling
from unictokens.evaluation.toyland_reader import Reading, ToylandReader
from unictokens.images import load_image

SAME = {"stripes": "striped", "stripe": "striped", "spots": "spotted", "spot": "spotted", "checks": "checked"}
"""Other words of the grammar for the same."""
WORDS = frozenset(
    (*COLOURS, *PATTERNS, *(word for word in ACCESSORIES if word != "none"), *PLACES, *CLASSES, "nothing")
)
YES_NO = ("yes", "no")


class ToylandJudge:
    """Judges by words and by reading pictures; raises CheckpointError when the reader's file is not there."""

    name = "toyland"

    def __init__(self, reader: ToylandReader | None = None) -> None:
        self._reader = reader or ToylandReader()

    def judge(self, cases: Sequence[Case]) -> list[Ruling]:
        """One ruling per case; none for a case that is not about Toyland's words."""
        drawn = [case for case in cases if case.picture is not None]
        pictures = [load_image(case.picture) for case in drawn if case.picture is not None]
        read = dict(zip((case.subject for case in drawn), self._reader.read(pictures), strict=True))
        return [
            answer_ruling(case.expected, case.answer)
            if case.picture is None
            else drawing_ruling(case.request, case.expected, read[case.subject])
            for case in cases
        ]


def answer_ruling(expected: str, answer: str) -> Ruling:
    """How much of the expected content an answer has; yes and no count by the first of them."""
    wanted = content(expected)
    if not wanted:
        return Ruling(None, f"the expected answer {expected!r} has none of Toyland's words")
    said = content(answer)
    decided = wanted & set(YES_NO)
    if decided:
        first = next((word for word in _words(answer) if word in YES_NO), "")
        return Ruling(float(first in decided), f"{first or 'neither yes nor no'}, expected {' '.join(decided)}")
    score = 1.0 if said == wanted else 0.5 if said & wanted else 0.0
    return Ruling(score, f"{' '.join(sorted(said)) or 'nothing'}, expected {' '.join(sorted(wanted))}")


def drawing_ruling(prompt: str, facts: str, seen: Reading) -> Ruling:
    """Whether a picture shows what the facts say of the thing or the place that its prompt refers to."""
    asked, known = content(prompt), re.split(r"(?<=\.)\s+", facts)
    if re.search(r"\blives?\b", prompt):
        home = next((content(fact) & set(PLACES) for fact in known if content(fact) & set(PLACES)), set())
        if not home:
            return Ruling(None, f"the facts {facts!r} name no place")
        return Ruling(float(seen.place in home), f"{seen.place}, expected {' '.join(home)}")
    for fact in known:
        wanted = content(fact)
        thing = wanted & asked & set(ACCESSORIES)
        if thing:
            right, coloured = seen.accessory in thing, seen.accessory_colour in wanted
            said = f"{seen.accessory_colour} {seen.accessory}, expected {' '.join(sorted(wanted))}"
            return Ruling(1.0 if right and coloured else 0.5 if coloured else 0.0, said)
    return Ruling(None, f"the prompt {prompt!r} refers to no fact of {facts!r}")


def content(text: str) -> set[str]:
    """Toyland's words in a text, each in one form, and yes and no."""
    return {word for word in _words(text) if word in WORDS or word in YES_NO}


def _words(text: str) -> list[str]:
    without_names = re.sub(r"<[^<>]*>", " ", text.lower())
    return [str(SAME.get(word, word)) for word in re.findall("[a-z]+", without_names)]
