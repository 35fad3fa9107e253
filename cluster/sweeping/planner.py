"""From a sample to its runs: one for every concept and seed, each under the name that any job would give it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tune_spaces.space import Sample, apply
from unictokens.config import RunConfig, override
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.learn import RunPlan, plan_run
from unictokens.training.branch import Branch, common_stages


@dataclass(frozen=True)
class Planned:
    """A run of a trial."""

    plan: RunPlan
    concept: str
    seed: int


class TrialPlanner:
    """Plans for some concepts, whose data are read once. Runs that begin like an earlier one of the sweep go on from its stage."""

    def __init__(self, catalog: Catalog, concepts: Sequence[str], seeds: int, base: RunConfig) -> None:
        """Raises DataError for a concept that cannot be read: a sweep without it would be about something else."""
        self.base = base
        self._seeds = tuple(range(base.seed, base.seed + seeds))
        records = {concept: catalog.concept(concept) for concept in concepts}
        self._known: Mapping[str, tuple[ConceptRecord, str]] = {
            concept: (record, record.digest()) for concept, record in records.items()
        }
        self._before: dict[str, RunPlan] = {}

    @property
    def concepts(self) -> tuple[str, ...]:
        """In order."""
        return tuple(self._known)

    @property
    def records(self) -> tuple[ConceptRecord, ...]:
        """Of the concepts, in order."""
        return tuple(record for record, _ in self._known.values())

    @property
    def digests(self) -> dict[str, str]:
        """Of the concepts' data."""
        return {concept: digest for concept, (_, digest) in self._known.items()}

    @property
    def runs_of_a_trial(self) -> int:
        """How many places of packs a trial takes."""
        return len(self._known) * len(self._seeds)

    def config(self, sample: Sample) -> RunConfig:
        """The settings of a trial. Raises ConfigError for a sample that is none."""
        return apply(self.base, sample)

    def runs(self, sample: Sample) -> tuple[Planned, ...]:
        """The runs of a trial. Raises ConfigError for a sample or settings that the method cannot follow."""
        config, made = self.config(sample), []
        for concept, (record, digest) in self._known.items():
            for seed in self._seeds:
                plan = plan_run(record, override(config, {"seed": seed}), digest)
                if plan.name not in self._before:
                    self._before[plan.name] = replace(plan, branch=self._branch(plan))
                made.append(Planned(self._before[plan.name], concept, seed))
        return tuple(made)

    def _branch(self, plan: RunPlan) -> Branch | None:
        alike = (run for run in self._before.values() if run.concept == plan.concept)
        shared = [(common_stages(run.config, plan.config), run) for run in alike]
        stages, parent = max(shared, key=lambda each: each[0], default=(0, None))
        return Branch(parent.name, parent.config_hash, stages) if parent is not None and stages else None
