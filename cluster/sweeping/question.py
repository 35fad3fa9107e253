"""What a sweep is asked, checked as a whole before anything starts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cluster.reproduction.tasks import Looks
from cluster.sweeping.exam import Sitting
from cluster.sweeping.ledger import Asked
from cluster.sweeping.objective import CHANGES_AN_EPOCH, Objective
from cluster.sweeping.optuna_sampler import OptunaSampler
from cluster.sweeping.planner import TrialPlanner
from cluster.sweeping.population import Population
from cluster.sweeping.samplers import GridSampler, RandomSampler, Sampler
from cluster.sweeping.tuner import Rule
from tune_spaces.budget import TextBudget
from tune_spaces.space import Sample, Space, apply, places
from unictokens.config import RunConfig, override, to_dict
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError
from unictokens.evaluation.exam import ExamSettings

TRIALS = 16
"""Samples of a search unless told otherwise."""
GRACE = 8
"""ASHA lets every trial live for this part of its epochs."""
DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which settings of `config` are to be searched, how, and what is to be made better.

    space     for this configuration (`Space.for_config`)
    concepts  every trial learns all of them, `seeds` times each
    trials    samples; 0 for `TRIALS`, or all of a grid
    levels    values of a range in a grid
    grace     epochs before ASHA ends a trial; 0 for a part of all
    seed      of the search
    exam      how runs are examined where the objective needs it, and by whose eyes drawings are seen
    previews  whether runs draw and ask while they train
    """

    config: RunConfig
    space: Space
    objective: Objective
    data: Path
    concepts: tuple[str, ...]
    exam: ExamSettings
    looks: Looks
    seeds: int = 1
    search: str = "random"
    scheduler: str = "asha"
    trials: int = 0
    levels: int = 3
    grace: int = 0
    reduction: int = 3
    seed: int = 0
    previews: bool = False

    def check(self) -> None:
        """Raises ConfigError, DataError, CheckpointError or DependencyError for what cannot be searched."""
        self._check_scheduler()
        self._check_samples()
        for record in self.planner.records:
            if self.objective.examined and not record.exam:
                raise ConfigError(
                    f"--metric {','.join(self.objective.names)} needs an examination, but test_data/{record.name}.json is "
                    "missing: add it, or use --metric understanding_loss"
                )

    @cached_property
    def catalog(self) -> Catalog:
        """The dataset."""
        return Catalog.open(self.data)

    @cached_property
    def base(self) -> RunConfig:
        """What samples change."""
        return self.config if self.previews else override(self.config, {"preview.every": 0})

    @cached_property
    def planner(self) -> TrialPlanner:
        """From samples to runs."""
        return TrialPlanner(self.catalog, self.concepts, self.seeds, self.base)

    @cached_property
    def stages(self) -> tuple[tuple[str, int], ...]:
        """Stages and their epochs, as the configuration has them."""
        return self.planner.runs({})[0].plan.stages

    @property
    def count(self) -> int:
        """How many samples there will be."""
        if self.trials or self.search != "grid":
            return self.trials or TRIALS
        return len(GridSampler(self.space, self.levels))

    @property
    def rule(self) -> Rule:
        """When trials end early."""
        total = sum(epochs for _, epochs in self.stages)
        grace = self.grace or max(1, total // GRACE)
        return Rule(scheduler=self.scheduler, grace=grace, reduction=self.reduction, total=total)

    @property
    def name(self) -> str:
        """A stable name: the same question gives the same one, however many trials it is answered with."""
        values = {key: value for key, value in self.asked.plain().items() if key != "trials"}
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:DIGITS]
        stem = "".join(sign if sign.isalnum() and sign.isascii() else "-" for sign in self.space.name)[:40]
        return f"{stem}-{digest}"

    @cached_property
    def asked(self) -> Asked:
        """The question as it is kept."""
        return Asked(
            space=self.space.plain(),
            config=to_dict(self.base),
            data=self.planner.digests,
            seeds=self.seeds,
            search=self.search,
            scheduler=self.scheduler,
            metrics=self.objective.names,
            watched=self.objective.watched,
            seed=self.seed,
            levels=self.levels,
            grace=self.rule.grace,
            reduction=self.reduction,
            exam=self._exam(),
            trials=self.count,
        )

    def sampler(self) -> Sampler:
        """A search that remembers nothing yet. Raises DependencyError without its library."""
        if self.search == "optuna":
            return OptunaSampler(self.space, self.objective, self.seed)
        return GridSampler(self.space, self.levels) if self.search == "grid" else RandomSampler(self.space, self.seed)

    def population(self) -> Population | None:
        """What replaces poor trials, where the scheduler is one that does. Raises ConfigError for what cannot change on the way."""
        if self.scheduler != "pbt":
            return None
        ends = [sum(epochs for _, epochs in self.stages[: number + 1]) for number in range(len(self.stages) - 1)]
        return Population(self.space, self.seed, tuple(ends))

    def sitting(self, output: Path) -> Sitting | None:
        """How lanes examine runs of this output folder; None where nothing is examined."""
        if not self.objective.examined:
            return None
        prompts = {record.name: self.catalog.evaluation_prompts(record.kind) for record in self.planner.records}
        return Sitting(self.data, output, self.exam, self.looks if self.objective.drawn else None, prompts)

    def _exam(self) -> dict[str, Any]:
        if not self.objective.examined:
            return {}
        looks: Mapping[str, Any] = asdict(self.looks) if self.objective.drawn else {}
        return {**asdict(self.exam), "looks": {name: str(value) for name, value in looks.items() if value}}

    def _check_scheduler(self) -> None:
        if self.scheduler == "none":
            return
        searched = {place for path in self.space.domains for place in places(path, self.config)}
        for path in CHANGES_AN_EPOCH:
            if searched & set(places(path, self.config)):
                raise ConfigError(
                    f"--scheduler {self.scheduler} cannot compare trials of another {path} epoch by epoch: use --scheduler none"
                )
        if self.scheduler == "pbt" and self.search == "optuna":
            raise ConfigError("--scheduler pbt makes samples of its own: use --search random or grid with it")
        self.population()

    def _check_samples(self) -> None:
        """See that samples are configurations whose prompts fit.

        Every sample of a grid and of a random search is known now; of an adaptive search the most tokens it may propose are checked.
        """
        sampler, budget = self.sampler(), TextBudget(self.config.backbone, self.catalog, self.concepts)
        paths = tuple(self.space.domains)
        if isinstance(sampler, OptunaSampler):
            budget.check(apply(self.base, self._most()), paths)
            return
        if isinstance(sampler, GridSampler) and self.count < len(sampler):
            size = len(sampler)
            raise ConfigError(f"the grid has {size} points: use --trials {size}, fewer --levels, or --search random")
        for number in range(self.count):
            sample = sampler.ask(number)
            if sample is None:
                break
            budget.check(apply(self.base, sample), paths)

    def _most(self) -> Sample:
        counts = {
            path: [value for value in domain.levels(2) if isinstance(value, int)]
            for path, domain in self.space.domains.items()
            if path.startswith("layout.")
        }
        return {path: max(values) for path, values in counts.items() if values}
