"""UnifyBench: the questions and drawings of one concept's examination (paper section 4; unifies understanding and drawing)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unictokens.backbones.base import Decoding, Sampling
from unictokens.data.records import ConceptRecord, ExamQuestion
from unictokens.errors import DataError
from unictokens.evaluation.contenders import Contender
from unictokens.evaluation.manifest import Answer, Group, Manifest

AT_ONCE = 32
"""Questions whose answers are written together: what an interruption costs."""
PLACEHOLDER = "<sks>"


@dataclass(frozen=True, kw_only=True)
class ExamSettings:
    """How an examination is held; the defaults are the published ones but for the number of knowledge-driven pictures (100).

    pure, knowledge, portraits  pictures per evaluation prompt, per prompt that needs the facts, and of "A photo of <name>."
    """

    max_tokens: int = 100
    pure: int = 4
    knowledge: int = 4
    portraits: int = 4
    steps: int = 50
    guidance: float = 5.0
    temperature: float = 1.0
    seed: int = 0


EXAMS: dict[str, ExamSettings] = {
    "published": ExamSettings(),
    "toyland": ExamSettings(max_tokens=40, pure=1, knowledge=6, portraits=2, steps=16, guidance=3.0),
}
"""By name. For the small base: one picture of each evaluation prompt and six of each about facts, in the 16 steps that its own presets
draw in; its answers are below 50 characters."""


def exam_for(backbone: str, name: str | None, **changed: int | None) -> ExamSettings:
    """The examination `name`, or the one for a backbone of that name, with those of `changed` that are not None."""
    exam = EXAMS[name or ("toyland" if backbone == "mini" else "published")]
    return replace(exam, **{key: value for key, value in changed.items() if value is not None})


@dataclass(frozen=True)
class Wish:
    """A picture to draw."""

    group: Group
    prompt: str
    seed: int


def examine(
    contender: Contender,
    record: ConceptRecord,
    prompts: Sequence[str],
    settings: ExamSettings,
    manifest: Manifest,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Ask and draw whatever the manifest does not have yet.

    prompts  evaluation prompts for this kind of concept, with "<sks>" where the concept stands
    tell     is told what comes next
    Raises DataError for a test without questions or a picture that cannot be read, StorageError.
    """
    if not record.exam:
        raise DataError(f"dataset has no test_data/{record.name}.json: add the concept's test questions")
    if contender.replays is None:  # with a replay, questions are answered as without
        _ask(contender, record, settings, manifest, tell)
    _draw(contender, wishes(record, prompts, settings), settings, manifest, tell)


def wishes(record: ConceptRecord, prompts: Sequence[str], settings: ExamSettings) -> list[Wish]:
    """Every picture of an examination, seeds counted on from `settings.seed`."""
    name = f"<{record.name}>"
    groups: list[tuple[Group, str, int]] = [
        *(("pure", prompt.replace(PLACEHOLDER, name), settings.pure) for prompt in prompts),
        *(("knowledge", prompt, settings.knowledge) for prompt in record.knowledge_conditions()),
        ("portrait", f"A photo of {name}.", settings.portraits),
    ]
    wanted: list[tuple[Group, str]] = [(group, prompt) for group, prompt, count in groups for _ in range(count)]
    return [Wish(group, prompt, settings.seed + number) for number, (group, prompt) in enumerate(wanted)]


def _ask(
    contender: Contender,
    record: ConceptRecord,
    settings: ExamSettings,
    manifest: Manifest,
    tell: Callable[[str], None],
) -> None:
    answered = {(answer.kind, answer.number) for answer in manifest.answers}
    numbered = [
        (question, number)
        for kind in dict.fromkeys(question.kind for question in record.exam)
        for number, question in enumerate(each for each in record.exam if each.kind == kind)
    ]
    left = [(question, number) for question, number in numbered if (question.kind, number) not in answered]
    decoding = Decoding(max_tokens=settings.max_tokens)
    for start in range(0, len(left), AT_ONCE):
        part = left[start : start + AT_ONCE]
        tell(f"question {start + 1} of {len(left)}")
        said = contender.answer([(question.text, question.image) for question, _ in part], decoding)
        manifest.add(
            Answer(
                kind=question.kind,
                number=number,
                question=question.text,
                image=_place(question, record.root),
                expected=question.answer,
                answer=answer,
            )
            for (question, number), answer in zip(part, said, strict=True)
        )


def _draw(
    contender: Contender,
    wanted: Sequence[Wish],
    settings: ExamSettings,
    manifest: Manifest,
    tell: Callable[[str], None],
) -> None:
    drawn = {(drawing.group, drawing.prompt, drawing.seed) for drawing in manifest.drawings}
    left = [wish for wish in wanted if (wish.group, wish.prompt, wish.seed) not in drawn]
    sampling = Sampling(steps=settings.steps, guidance=settings.guidance, temperature=settings.temperature)
    prompts: dict[tuple[Group, str], None] = dict.fromkeys((wish.group, wish.prompt) for wish in left)
    for number, (group, prompt) in enumerate(prompts):
        tell(f"drawing {prompt!r} ({number + 1})")
        seeds = [wish.seed for wish in left if (wish.group, wish.prompt) == (group, prompt)]
        trace = contender.recall(prompt)
        pictures = contender.draw(prompt if trace is None else trace.prompt, seeds, sampling)
        for seed, picture in zip(seeds, pictures, strict=True):
            manifest.add_drawing(group, prompt, seed, picture, trace)


def _place(question: ExamQuestion, root: Path) -> str | None:
    return None if question.image is None else question.image.relative_to(root).as_posix()
