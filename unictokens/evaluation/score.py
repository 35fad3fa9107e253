"""From a manifest to scores: pure, without the model. A score that has no basis is absent, with the reason, never a number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from unictokens.evaluation import bleu
from unictokens.evaluation.manifest import Answer, Manifest
from unictokens.replay.recall import intents

Mode = Literal["correct", "paper_compat"]


@dataclass(frozen=True)
class Score:
    """A mean and how many items it is of; or, with `value` None, the reason why there is none (`why`)."""

    value: float | None
    count: int = 0
    why: str = ""

    @classmethod
    def mean(cls, values: Sequence[float], absent: str) -> "Score":
        """The mean, or none of no values."""
        return cls(sum(values) / len(values), len(values)) if values else cls(None, 0, absent)


LOOKALIKES = "negative_example"
"""Folder of a concept's test pictures that show others who look like it (official layout)."""

Scores = dict[str, Score]
"""By column name, in the order of the paper's tables."""


def understanding_scores(manifest: Manifest, mode: Mode = "correct") -> Scores:
    """Recognition and BLEU.

    "rec" is the mean of both recalls; "lookalike recall" is that of the negatives which look like the concept. `correct` takes the first word of the answer that is yes or no; `paper_compat` looks for
    "yes" or "no" anywhere in it, also within "know" or "nose" (published evaluation).
    """
    says = _contains if mode == "paper_compat" else _first
    rec = _of_kind(manifest, "rec")
    positives = [float(says(answer.answer, "yes")) for answer in rec if answer.expected.strip() != "No."]
    strangers = [answer for answer in rec if answer.expected.strip() == "No."]
    negatives = [float(says(answer.answer, "no")) for answer in strangers]
    alike = [answer for answer in strangers if LOOKALIKES in (answer.image or "").split("/")]
    found: Scores = {
        "recall": Score.mean(positives, "no positive recognition questions"),
        "no recall": Score.mean(negatives, "no negative recognition questions"),
        "lookalike recall": Score.mean(
            [float(says(answer.answer, "no")) for answer in alike], "no recognition questions about lookalikes"
        ),
    }
    yes, no = found["recall"].value, found["no recall"].value
    found["rec"] = Score(None, 0, "recognition needs positives and negatives")
    if yes is not None and no is not None:
        found["rec"] = Score((yes + no) / 2, len(rec))
    choice = [float(answer.expected.strip(" .") in answer.answer) for answer in _of_kind(manifest, "choice")]
    found["choice"] = Score.mean(choice, "no choice questions")
    for kind, name in (("vqa", "vqa"), ("text_only", "qa")):
        answers = _of_kind(manifest, kind)
        for column, measure in (("bleu", bleu.released), ("bleu-4", bleu.standard)):
            found[f"{name} {column}"] = Score.mean(_each(answers, measure), f"no {kind} questions")
    return found


INTENTS, RECALLED = "right intents", "recalled"


def replay_scores(manifest: Manifest) -> Scores:
    """Of the prompts about facts, how many of the things that they refer to were asked for, and how many prompts got an answer.

    What a prompt refers to is what the rules see in it.
    """
    traces = {each.prompt: each.trace for each in manifest.drawings if each.group == "knowledge" and each.trace}
    counts = [intents(trace, (manifest.header.concept,)) for trace in traces.values()]
    asked = [float(at < right) for right, wanted in counts for at in range(wanted)]
    changed = [float(trace.prompt != trace.request) for trace in traces.values()]
    return {
        INTENTS: Score.mean(asked, "no prompt refers to anything that the rules know"),
        RECALLED: Score.mean(changed, "nothing was replayed"),
    }


def judged(manifest: Manifest, judge: str, subjects: Sequence[str]) -> Score:
    """The mean of a judge's verdicts; absent unless every subject has one."""
    verdicts = [manifest.verdict(judge, subject) for subject in subjects]
    missing = sum(verdict is None for verdict in verdicts)
    if missing:
        return Score(None, 0, f"judge '{judge}' has not judged {missing} of {len(subjects)}")
    return Score.mean([verdict.score for verdict in verdicts if verdict is not None], "nothing to judge")


def subjects(manifest: Manifest, kind: str) -> list[str]:
    """What a judge is asked about: answers of a kind ("vqa", "text_only") by number, or drawings of a group by file."""
    if kind in ("vqa", "text_only"):
        return [f"{kind} {answer.number}" for answer in _of_kind(manifest, kind)]
    return [drawing.file for drawing in manifest.drawings if drawing.group == kind]


def _of_kind(manifest: Manifest, kind: str) -> list[Answer]:
    return [answer for answer in manifest.answers if answer.kind == kind]


def _each(answers: Sequence[Answer], measure: Callable[[str, str], float]) -> list[float]:
    return [measure(answer.answer, answer.expected) for answer in answers]


def _contains(answer: str, word: str) -> bool:
    return word in answer.lower()


def _first(answer: str, word: str) -> bool:
    words = (each for each in bleu.WORD.findall(answer.lower()) if each in ("yes", "no"))
    return next(words, "") == word
