"""Judges: whoever says how right an answer or a drawing is, on the scale 0, 0.5, 1 of the published evaluation.

A judge that cannot come to a verdict says why; it never guesses, and nothing is put in its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from unictokens.data.records import ConceptRecord
from unictokens.errors import DataError
from unictokens.evaluation.manifest import Answer, Manifest, Verdict

JUDGES: dict[str, str] = {
    "toyland": "unictokens.evaluation.toyland_judge:ToylandJudge",
    "openai": "unictokens.evaluation.openai_judge:OpenAIJudge",
}
"""Name to `module:class`; see `unictokens.lookup.resolve`."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is to be judged.

    subject   how the manifest names it: "vqa 3", or a drawing's file
    knowledge what is known of the concept: class, description, facts
    request   the question, or the prompt of a drawing
    expected  the right answer; of a drawing the facts it must show
    answer    what was said; "" for a drawing
    picture   the drawing, None for an answer
    """

    subject: str
    kind: Literal["answer", "drawing"]
    knowledge: str
    request: str
    expected: str
    answer: str = ""
    picture: Path | None = None


@dataclass(frozen=True)
class Ruling:
    """A verdict in [0, 1] with the judge's own words, or, with `score` None, the reason why there is none."""

    score: float | None
    raw: str


class Judge(Protocol):
    """Judges many cases at once, in their order."""

    @property
    def name(self) -> str: ...

    def judge(self, cases: Sequence[Case]) -> list[Ruling]: ...


def cases_of(manifest: Manifest, record: ConceptRecord) -> list[Case]:
    """Everything in an examination that needs a judge: answers about photos and facts, knowledge-driven drawings."""
    knowledge = " ".join([f"<{record.name}> is a {record.cls}.", record.info, *record.facts])
    found = [
        Case(
            subject=subject_of(answer),
            kind="answer",
            knowledge=knowledge,
            request=answer.question,
            expected=answer.expected,
            answer=answer.answer,
        )
        for answer in manifest.answers
        if answer.kind in ("vqa", "text_only")
    ]
    found += [
        Case(
            subject=drawing.file,
            kind="drawing",
            knowledge=knowledge,
            request=drawing.prompt,
            expected=" ".join(record.facts),
            picture=manifest.image(drawing),
        )
        for drawing in manifest.drawings
        if drawing.group == "knowledge"
    ]
    return found


def subject_of(answer: Answer) -> str:
    """How verdicts name an answer."""
    return f"{answer.kind} {answer.number}"


def judge_all(
    judge: Judge,
    manifest: Manifest,
    record: ConceptRecord,
    created: str,
    tell: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Have everything judged that this judge has not judged yet; returns why cases stay without a verdict.

    Verdicts are kept as they come. Raises StorageError; DataError when a drawing's file is gone.
    """
    left = [case for case in cases_of(manifest, record) if manifest.verdict(judge.name, case.subject) is None]
    for case in left:
        if case.picture is not None and not case.picture.is_file():
            raise DataError(f"'{case.picture}' is gone: examine the concept again in another folder")
    if not left:
        return []
    tell(f"judge '{judge.name}' looks at {len(left)} answers and drawings")
    failed = []
    for case, ruling in zip(left, judge.judge(left), strict=True):
        if ruling.score is None:
            failed.append(f"{case.subject}: {ruling.raw}")
            continue
        verdict = Verdict(judge=judge.name, subject=case.subject, score=ruling.score, raw=ruling.raw, created=created)
        manifest.add([verdict])
    return failed
