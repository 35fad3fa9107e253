"""One concept's whole examination: contenders in turn, a judge, and a table of scores with the gain over no concept at all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unictokens import __version__
from unictokens.backbones.base import Backbone
from unictokens.concepts.bundle import ConceptBundle
from unictokens.data.records import ConceptRecord
from unictokens.evaluation.contenders import INVERSION, REAL, REPLAY, contender
from unictokens.evaluation.exam import ExamSettings, examine
from unictokens.evaluation.judges import Judge, judge_all
from unictokens.evaluation.manifest import Header, Manifest
from unictokens.evaluation.score import Mode, Score, Scores, judged, replay_scores, subjects, understanding_scores
from unictokens.evaluation.similarity import similarity_scores

JUDGED = {"vqa score": "vqa", "qa score": "text_only", "knowledge score": "knowledge"}
"""Columns that a judge fills, and what it looks at for each."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """An examination of one published concept.

    prompts    evaluation prompts for drawings, with "<sks>" for the concept
    created    UTC, ISO 8601, given by the caller
    inversion  the same concept learned by textual inversion and its version, for the contender of that name
    """

    backbone: Backbone
    bundle: ConceptBundle
    version: int | None
    record: ConceptRecord
    prompts: Sequence[str]
    settings: ExamSettings
    mode: Mode
    created: str
    inversion: tuple[ConceptBundle, int] | None = None

    def hold(self, name: str, folder: Path, tell: Callable[[str], None] = lambda text: None) -> Manifest:
        """Examine the contender `name` into `folder`, or go on where that stopped.

        Raises DataError for tests that are missing or damaged and for a folder of another examination, StorageError.
        """
        bundle, version = (self.bundle, self.version) if name != INVERSION or not self.inversion else self.inversion
        header = Header(
            contender=name,
            concept=self.record.name,
            version=version,
            backbone=self.backbone.info.name,
            fingerprint=self.backbone.info.fingerprint,
            dataset_digest=self.record.digest(),
            mode=self.mode,
            settings={**asdict(self.settings), "prompts": list(self.prompts)},
            library=__version__,
            created=self.created,
        )
        manifest = Manifest.begin(folder, header)
        if name == REAL:
            return manifest
        sitter = contender(name, self.backbone, bundle, self.record)
        examine(sitter, self.record, self.prompts, self.settings, manifest, lambda text: tell(f"{name}: {text}"))
        return manifest


def scores(manifest: Manifest, judge: str | None) -> Scores:
    """All scores of an examination, from its manifest alone; `judge` names whose verdicts count, None for nobody's.

    "real" sat no exam and has the columns of similarity only. With a replay there are only those of drawings: it answers no questions.
    """
    if manifest.header.contender == REAL:
        return similarity_scores(manifest)
    replays = manifest.header.contender.startswith(REPLAY)
    found: Scores = {} if replays else understanding_scores(manifest, manifest.header.mode)
    for column, kind in JUDGED.items():
        if replays and kind != "knowledge":
            continue
        asked = subjects(manifest, kind)
        found[column] = Score(None, 0, "no judge was asked") if judge is None else judged(manifest, judge, asked)
    if replays:
        found |= replay_scores(manifest)
    return found | similarity_scores(manifest)


def rule(
    manifests: Mapping[str, Manifest], record: ConceptRecord, judge: Judge, created: str, tell: Callable[[str], None]
) -> list[str]:
    """Have every contender's answers and drawings judged; returns the cases that stay without a verdict, with reasons."""
    return [
        f"{name}: {reason}"
        for name, manifest in manifests.items()
        for reason in judge_all(judge, manifest, record, created, tell)
    ]
