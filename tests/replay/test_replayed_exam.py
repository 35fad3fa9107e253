"""An examination with replay keeps what was replayed for each picture, and scores it again from the files alone."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unictokens.backbones.base import Decoding, Sampling
from unictokens.backbones.showo.backbone import ShowO
from unictokens.cli.evaluate import table
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.data.toyland.roster import roster
from unictokens.data.toyland.samples import text_only
from unictokens.errors import ConfigError
from unictokens.evaluation.contenders import Contender, contender, has_rows
from unictokens.evaluation.exam import ExamSettings, examine
from unictokens.evaluation.manifest import Header, Manifest
from unictokens.evaluation.score import INTENTS, RECALLED
from unictokens.evaluation.unifybench import scores
from unictokens.replay.settings import ReplaySettings

SETTINGS = ExamSettings(pure=1, knowledge=2, portraits=1, steps=2)
BO = roster(seed=0)[0]
TAUGHT = {each.question: each.answer for each in text_only(BO, False, np.random.default_rng(0))}


class Taught:
    """A pipeline that knows its facts, except that it forgets one when told to; draws grey."""

    names: tuple[str, ...] = ("bo",)

    def __init__(self, forgets: str = "nothing") -> None:
        self.forgets = forgets
        self.drawn: list[str] = []

    @property
    def bare(self) -> "Taught":
        return self

    def ask_all(self, asked: Sequence[tuple[str, Path | None]], decoding: Decoding | None = None) -> list[str]:
        return ["Hm." if self.forgets in question else TAUGHT.get(question, "Yes.") for question, _ in asked]

    def draw(self, prompt: str, seeds: Sequence[int], sampling: Sampling | None = None) -> list[Image.Image]:
        self.drawn.append(prompt)
        return [Image.new("RGB", (8, 8), (seed, seed, seed)) for seed in seeds]


@pytest.fixture
def record(toyland: Path) -> ConceptRecord:
    return Catalog.open(toyland).concept("bo")


def sit(pipeline: Taught, settings: ReplaySettings, record: ConceptRecord, folder: Path) -> Manifest:
    name = f"replay-{settings.name}"
    header = Header(
        contender=name,
        concept="bo",
        version=1,
        backbone="tiny",
        fingerprint="0",
        dataset_digest="1",
        mode="correct",
        library="0",
    )
    manifest = Manifest.begin(folder, header)
    sitter = Contender(name, pipeline, replays=settings)  # type: ignore[arg-type]
    examine(sitter, record, ["a <sks> in the snow"], SETTINGS, manifest)
    return manifest


def test_every_picture_keeps_its_trace_and_scores_are_those_of_the_files(record: ConceptRecord, tmp_path: Path) -> None:
    pipeline = Taught()
    manifest = sit(pipeline, ReplaySettings(), record, tmp_path)
    assert pipeline.drawn == [
        "a <bo> in the snow",
        "A photo of <bo> with a yellow balloon.",
        "A photo of <bo> in the kitchen.",
        "A photo of <bo>.",
    ]
    again = Manifest.open(tmp_path)
    assert again.drawings == manifest.drawings and scores(again, None) == scores(manifest, None)
    for drawing in again.drawings:
        assert drawing.trace is not None and drawing.trace.request == drawing.prompt
        assert (drawing.trace.calls > 0) == (drawing.group == "knowledge")
    found = scores(again, None)
    assert (found[INTENTS].value, found[INTENTS].count, found[RECALLED].value) == (1.0, 2, 1.0)


def test_a_forgotten_fact_is_drawn_as_asked_and_counted(record: ConceptRecord, tmp_path: Path) -> None:
    pipeline = Taught(forgets="live")
    found = scores(sit(pipeline, ReplaySettings(), record, tmp_path), None)
    assert "A photo of <bo> where it lives." in pipeline.drawn
    assert (found[INTENTS].value, found[RECALLED].value) == (1.0, 0.5)


def test_a_model_that_cannot_follow_examples_has_no_right_intent(record: ConceptRecord, tmp_path: Path) -> None:
    found = scores(sit(Taught(), ReplaySettings(parser="exemplars", exemplars=2), record, tmp_path), None)
    assert (found[INTENTS].value, found[RECALLED].value) == (0.0, 0.0)


def test_examinations_from_before_replay_are_still_read(record: ConceptRecord, tmp_path: Path) -> None:
    manifest = sit(Taught(), ReplaySettings(), record, tmp_path)
    path = tmp_path / "drawings.jsonl"
    old = [{k: v for k, v in json.loads(line).items() if k != "trace"} for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(json.dumps, old)) + "\n")
    again = Manifest.open(tmp_path)
    assert [each.file for each in again.drawings] == [each.file for each in manifest.drawings]
    found = scores(again, None)
    assert found[RECALLED].value is None and found[RECALLED].why
    assert table({"replay-rules": found, "nothing": {RECALLED: found[RECALLED]}}, "").row_count == len(found)


def test_contenders_with_replay_are_known_by_name(tiny_backbone: ShowO, record: ConceptRecord) -> None:
    assert has_rows("replay-exemplars-4") and not has_rows("text")
    with pytest.raises(ConfigError, match="replay 'magic' is unknown"):
        contender("replay-magic", tiny_backbone, object(), record)  # type: ignore[arg-type]
