"""What was examined is kept as it happens, goes on after an interruption and gives the same scores again."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from unictokens.backbones.base import Decoding, Sampling
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.errors import DataError
from unictokens.evaluation import manifest
from unictokens.evaluation.exam import EXAMS, ExamSettings, exam_for, examine, wishes
from unictokens.evaluation.judges import Case, Ruling, judge_all
from unictokens.evaluation.manifest import Answer, Header, Manifest
from unictokens.evaluation.unifybench import scores
from unictokens.replay.trace import Trace

SETTINGS = ExamSettings(pure=1, knowledge=2, portraits=1, steps=2)
PROMPTS = ["a <sks> in the snow"]


class Pupil:
    """A contender of which one says what it answers; draws grey."""

    name = "tokens"
    replays = None

    def __init__(self, say: Callable[[str], str], breaks_after: int = 10**6) -> None:
        self._say = say
        self._left = breaks_after
        self.drawn: list[str] = []

    def answer(self, asked: Sequence[tuple[str, Path | None]], decoding: Decoding) -> list[str]:
        return [self._say(question) for question, _ in asked]

    def recall(self, prompt: str) -> Trace | None:
        return None

    def draw(self, prompt: str, seeds: Sequence[int], sampling: Sampling) -> list[Image.Image]:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        self.drawn.append(prompt)
        return [Image.new("RGB", (8, 8), (seed, seed, seed)) for seed in seeds]


class Strict:
    """A judge for whom an answer is right or not, and every drawing half right; it has no opinion on what is empty."""

    name = "strict"

    def __init__(self) -> None:
        self.asked = 0

    def judge(self, cases: Sequence[Case]) -> list[Ruling]:
        self.asked += len(cases)
        return [self._rule(case) for case in cases]

    def _rule(self, case: Case) -> Ruling:
        if case.picture is not None:
            return Ruling(0.5, "half")
        return Ruling(float(case.answer == case.expected), "read") if case.answer else Ruling(None, "nothing was said")


@pytest.fixture
def record(toyland: Path) -> ConceptRecord:
    return Catalog.open(toyland).concept("bo")


def header(**changed: object) -> Header:
    values: dict[str, object] = {"contender": "tokens", "concept": "bo", "version": 1, "backbone": "tiny"}
    values |= {"fingerprint": "0", "dataset_digest": "1", "mode": "correct", "library": "0"}
    return Header(**{**values, **changed})  # type: ignore[arg-type]


def sit(pupil: Pupil, record: ConceptRecord, folder: Path) -> Manifest:
    manifest = Manifest.begin(folder, header())
    examine(pupil, record, PROMPTS, SETTINGS, manifest)  # type: ignore[arg-type]
    return manifest


def key(record: ConceptRecord) -> Callable[[str], str]:
    """Expected answers by question; the same question never has two in one of these tests' exams but for recognition."""
    return {question.text: question.answer for question in record.exam}.__getitem__


def test_the_worst_pupil_gets_nothing_and_always_yes_gets_half_of_recognition(
    record: ConceptRecord, tmp_path: Path
) -> None:
    worst = scores(sit(Pupil(lambda _: "zzz"), record, tmp_path / "worst"), None)
    for column in ("recall", "no recall", "rec", "choice", "vqa bleu", "qa bleu", "vqa bleu-4"):
        assert worst[column].value == 0.0
    yes = scores(sit(Pupil(lambda _: "Yes."), record, tmp_path / "yes"), None)
    assert (yes["recall"].value, yes["no recall"].value, yes["rec"].value) == (1.0, 0.0, 0.5)
    assert yes["vqa score"].value is None and yes["vqa score"].why == "no judge was asked"


def test_lookalikes_are_counted_for_themselves(record: ConceptRecord, tmp_path: Path) -> None:
    manifest = Manifest.begin(tmp_path, header())
    shown = [("test/bo/0.png", "Yes."), *((f"test/bo/negative_example/{at}.png", "No.") for at in range(4))]
    shown += [(f"random_images/{at}.png", "No.") for at in range(4)]
    for number, (image, expected) in enumerate(shown):
        said = "Yes." if number == 1 else expected
        item = {"kind": "rec", "number": number, "question": "?", "image": image, "expected": expected, "answer": said}
        manifest.add([Answer(**item)])  # type: ignore[arg-type]
    found = scores(manifest, None)
    assert (found["lookalike recall"].value, found["no recall"].value) == (0.75, 0.875)
    assert found["lookalike recall"].count == 4


def test_the_perfect_pupil_gets_everything(record: ConceptRecord, tmp_path: Path) -> None:
    manifest = Manifest.begin(tmp_path, header())
    for number, question in enumerate(record.exam):
        manifest.add(
            [
                Answer(
                    kind=question.kind,
                    number=number,
                    question=question.text,
                    image=None,
                    expected=question.answer,
                    answer=question.answer,
                )
            ]
        )
    judge_all(Strict(), manifest, record, "")
    found = scores(manifest, "strict")
    for column in (
        "recall",
        "no recall",
        "rec",
        "choice",
        "vqa bleu",
        "qa bleu",
        "vqa bleu-4",
        "vqa score",
        "qa score",
    ):
        if column.endswith("bleu"):  # one character has no pair to be right about
            assert found[column].value == pytest.approx(1.0)
        elif column.endswith("bleu-4"):  # short answers have no four words: smoothing says 0.1
            assert found[column].value is not None and found[column].value > 0.1
        else:
            assert found[column].value == 1.0


def test_scores_come_from_the_files_alone(record: ConceptRecord, tmp_path: Path) -> None:
    manifest = sit(Pupil(key(record)), record, tmp_path)
    judge_all(Strict(), manifest, record, "2026-01-01")
    again = Manifest.open(tmp_path)
    assert scores(again, "strict") == scores(manifest, "strict")
    assert scores(again, "strict")["knowledge score"].value == 0.5
    assert all((tmp_path / "images" / drawing.file).is_file() for drawing in again.drawings)


def test_an_interrupted_examination_goes_on(record: ConceptRecord, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        sit(Pupil(key(record), breaks_after=2), record, tmp_path)
    (tmp_path / "drawings.jsonl").open("ab").write(b'{"group": "pu')  # killed while writing
    second = Pupil(lambda _: "asked again")
    manifest = sit(second, record, tmp_path)
    assert len(second.drawn) == len({wish.prompt for wish in wishes(record, PROMPTS, SETTINGS)}) - 2
    assert all(answer.answer != "asked again" for answer in manifest.answers)
    assert len(manifest.drawings) == len(wishes(record, PROMPTS, SETTINGS))


def test_a_judge_is_asked_once_and_what_it_cannot_say_is_no_score(record: ConceptRecord, tmp_path: Path) -> None:
    silent = next(question.text for question in record.exam if question.kind == "vqa")
    manifest = sit(Pupil(lambda asked: "" if asked == silent else "Pink."), record, tmp_path)
    judge = Strict()
    failed = judge_all(judge, manifest, record, "")
    assert failed and all("nothing was said" in reason for reason in failed)
    first = judge.asked
    assert judge_all(judge, manifest, record, "") == failed
    assert judge.asked == first + len(failed)
    found = scores(manifest, "strict")
    assert found["vqa score"].value is None and "has not judged" in found["vqa score"].why
    assert found["qa score"].value is not None


def test_foreign_and_damaged_manifests_are_refused(record: ConceptRecord, tmp_path: Path) -> None:
    sit(Pupil(lambda _: "Yes."), record, tmp_path)
    with pytest.raises(DataError, match="another examination"):
        Manifest.begin(tmp_path, header(version=2))
    with pytest.raises(DataError, match="does not exist"):
        Manifest.open(tmp_path / "nowhere")
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    (tmp_path / "answers.jsonl").write_text("\n".join([lines[0][:-3], *lines[1:]]) + "\n")
    with pytest.raises(DataError, match="line 1 is damaged"):
        Manifest.open(tmp_path)
    values = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**values, "format": 7}))
    with pytest.raises(DataError, match="format 7"):
        Manifest.open(tmp_path)


def test_the_small_base_sits_a_short_exam_unless_asked_otherwise() -> None:
    assert exam_for("mini", None) == EXAMS["toyland"] and exam_for("show-o-512x512", None) == ExamSettings()
    assert exam_for("mini", "published", steps=None).steps == 50
    assert exam_for("mini", None, steps=3, pure=None) == replace(EXAMS["toyland"], steps=3)


def test_what_reads_a_line_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Making it takes a hundred times longer than a line with it, and a table reads a million lines."""
    made: list[type] = []

    class Counted(manifest.TypeAdapter):  # type: ignore[type-arg]
        def __init__(self, kind: type) -> None:
            made.append(kind)
            super().__init__(kind)

    monkeypatch.setattr(manifest, "TypeAdapter", Counted)
    manifest._adapter.cache_clear()
    header = Header(
        contender="tokens",
        concept="bo",
        version=1,
        backbone="mini",
        fingerprint="",
        dataset_digest="",
        mode="correct",
        library="",
    )
    said = [
        Answer(kind="vqa", number=number, question="?", image=None, expected="yes", answer="yes") for number in range(5)
    ]
    Manifest.begin(tmp_path, header).add(said)
    assert Manifest.open(tmp_path).answers == said
    assert sorted(made, key=str) == [Answer, Header]
