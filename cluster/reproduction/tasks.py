"""The examinations that a table needs: one per (variant, stage looked at, concept, seed), and one per concept for a control."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.reproduction.table import Table, Variant
from unictokens.config import RunConfig
from unictokens.evaluation.ability import AbilitySettings
from unictokens.evaluation.exam import ExamSettings
from unictokens.evaluation.toyland_judge import ToylandJudge
from unictokens.learn import Output, RunPlan

NO_SEED = 0
"""Of controls, which learn nothing."""
JUDGE = ToylandJudge.name
DONE_FILE = "done.json"
ABILITY_FILE = "ability.json"
DIGITS = 10


@dataclass(frozen=True)
class Looks:
    """Encoders that look at drawings, as `open_encoders` takes them; None where there is none."""

    clip: str | None = "toyland"
    dino: Path | None = None
    faces: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ExamTask:
    """One examination, complete in itself: a process that has the dataset and the output can hold it.

    folder  where everything of it goes; the same examination of another table has the same one
    plan    the run whose rows are examined, None for a control
    stage   after which of its stages, "" for the last
    looks   who measures its drawings, None for an examination without any
    """

    folder: Path
    concept: str
    seed: int
    contender: str
    plan: RunPlan | None
    stage: str
    exam: ExamSettings | AbilitySettings
    prompts: tuple[str, ...] = ()
    looks: Looks | None = None

    def made(self, opened: Collection[str]) -> dict[str, Any]:
        """What `done.json` says of an examination whose drawings the encoders of these names have seen."""
        looks = {} if self.looks is None else {name: str(value) for name, value in asdict(self.looks).items()}
        return {"judge": JUDGE, "looks": {name: value for name, value in looks.items() if name in opened}}

    @property
    def held(self) -> bool:
        """Whether it was gone through, so that it has scores."""
        return self._said() is not None

    @property
    def done(self) -> bool:
        """Whether nothing is left to make: an encoder that could not be opened then may be there now."""
        wanted = [name for name, value in ({} if self.looks is None else asdict(self.looks)).items() if value]
        return self._said() == self.made(wanted)

    def _said(self) -> Any:
        try:
            return json.loads((self.folder / DONE_FILE).read_bytes())
        except (OSError, ValueError):
            return None


@dataclass(frozen=True)
class Place:
    """Where a cell's number comes from."""

    variant: str
    stage: str
    concept: str
    seed: int


def tasks_of(
    table: Table,
    plans: Mapping[tuple[str, str, int], RunPlan],
    concepts: Sequence[str],
    seeds: Sequence[int],
    config: RunConfig,
    prompts: Mapping[str, tuple[str, ...]],
    output: Output,
    looks: Looks,
) -> dict[Place, ExamTask]:
    """All examinations of a table by what they are for.

    plans    runs by (variant, concept, seed); what is missing there was refused and has no examination
    config   the base configuration: controls are examined on its backbone
    prompts  evaluation prompts by concept
    looks    who measures drawings
    """
    found: dict[Place, ExamTask] = {}
    for variant in table.variants:
        for stage in dict.fromkeys(table.stage_of(variant, column) for column in table.columns):
            exam = table.exam_of(variant, stage)
            for concept in concepts:
                for seed in seeds if variant.trained else (NO_SEED,):
                    plan = plans.get((variant.name, concept, seed))
                    if variant.trained and plan is None:
                        continue
                    draws = isinstance(exam, ExamSettings) and exam.pure + exam.knowledge + exam.portraits > 0
                    asked = prompts.get(concept, ()) if draws else ()
                    place = Place(variant.name, stage, concept, seed)
                    found[place] = ExamTask(
                        folder=output.local / "exams" / _home(plan, variant, concept, stage, exam, config, asked),
                        concept=concept,
                        seed=seed,
                        contender=variant.contender,
                        plan=plan,
                        stage=stage,
                        exam=exam,
                        prompts=asked,
                        looks=looks if draws else None,
                    )
    return found


def _home(
    plan: RunPlan | None,
    variant: Variant,
    concept: str,
    stage: str,
    exam: ExamSettings | AbilitySettings,
    config: RunConfig,
    prompts: Sequence[str],
) -> str:
    """A folder name that only the examined rows and the examination decide."""
    # A control depends on how its model is loaded; a run's name says that already.
    loaded = "" if plan else f"{config.backbone} {config.precision} {config.answer_start}"
    text = json.dumps([asdict(exam), list(prompts), loaded], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
    if plan is not None:
        how = "" if variant.contender == "tokens" else f"-{variant.contender}"
        return f"{plan.name}/{stage or plan.stages[-1][0]}{how}-{digest}"
    # The bare base is the same one whichever concept it is not asked about.
    who = "base" if isinstance(exam, AbilitySettings) else concept
    return f"{who}/{variant.contender}-{digest}"
