"""From a dataset, concepts and settings to the runs of a job: pure, quick, and before anything is started.

Runs whose result is published already are left out; a concept whose data are broken becomes a refusal and does not stand
in the way of the others.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from unictokens.config import RunConfig
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError, DataError, StorageError
from unictokens.learn import Output, RunPlan, plan_run, published_version

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skipped:
    """A run that is published already."""

    plan: RunPlan
    version: int


@dataclass(frozen=True)
class Refused:
    """A concept that cannot be trained, and why."""

    concept: str
    reason: str


@dataclass(frozen=True)
class JobPlan:
    """What a job will do: `runs` to train; what needs no training (`skipped`) or permits none (`refused`).

    concepts  all of them in the order asked for
    """

    concepts: tuple[str, ...]
    runs: tuple[RunPlan, ...]
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refused, ...] = ()

    @property
    def name(self) -> str:
        """A stable name: the same concepts, settings and data give the same job, finished or not."""
        names = sorted([run.name for run in self.runs] + [skip.plan.name for skip in self.skipped])
        refused = sorted(refusal.concept for refusal in self.refused)
        return f"job-{hashlib.sha256(' '.join([*names, *refused]).encode()).hexdigest()[:12]}"


def plan_job(catalog: Catalog, concepts: Sequence[str], config: RunConfig, output: Output, resume: bool) -> JobPlan:
    """The runs that teach `concepts` of `catalog` with `config` into `output`.

    Raises ConfigError when a run was begun before and `resume` does not ask to continue it, and for settings that the
    method cannot follow.
    """
    runs: list[RunPlan] = []
    skipped: list[Skipped] = []
    refused: list[Refused] = []
    for concept in concepts:
        try:
            plan = plan_run(catalog.concept(concept), config)
        except (DataError, StorageError) as error:
            log.warning("concept '%s' is left out: %s", concept, error)
            refused.append(Refused(concept, str(error)))
            continue
        version = published_version(output, plan)
        if version is not None:
            skipped.append(Skipped(plan, version))
        else:
            runs.append(plan)
    begun = [run.concept for run in runs if output.begun(run.name)]
    if begun and not resume:
        raise ConfigError(
            f"'{output.root}' holds unfinished runs of {', '.join(begun[:5])}{', ...' if len(begun) > 5 else ''}: "
            "add --resume to continue them, or choose another --out"
        )
    return JobPlan(tuple(concepts), tuple(runs), tuple(skipped), tuple(refused))
