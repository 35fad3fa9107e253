"""Search by Optuna's tree of Parzen estimators; the only file that imports optuna.

Trials run side by side: those under way count as poor until they are over, so that the next sample goes elsewhere. One that was
stopped early is told with its watched curve, its values turned where the watched metric is better small and the objective large.
"""

import logging
from collections.abc import Sequence
from typing import Any

from cluster.sweeping.objective import METRICS, Objective
from tune_spaces.domain import Choice, FloatRange, IntRange
from tune_spaces.space import Sample, Space
from unictokens.errors import ConfigError, DependencyError

STARTUP = 5
"""Random samples before the search begins to think."""


class OptunaSampler:
    """The samples of a study in memory; an earlier session's trials are told to it anew."""

    def __init__(self, space: Space, objective: Objective, seed: int) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise DependencyError(
                "--search optuna needs the library 'optuna': pip install 'unictokens[sweep]', or use --search random"
            ) from error
        self._optuna = optuna
        self._space = space
        self._objective = objective
        self._distributions = {path: self._distribution(path) for path in space.domains}
        optuna.logging.set_verbosity(logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True)
        directions: list[Any] = ["maximize" if metric.goal == "max" else "minimize" for metric in objective.metrics]
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._asked: dict[int, Any] = {}

    def ask(self, number: int) -> Sample | None:
        trial = self._asked[number] = self._study.ask(self._distributions)
        return {path: self._value(path, trial.params[path]) for path in self._space.domains}

    def recall(self, number: int, sample: Sample) -> None:
        self._study.enqueue_trial({path: self._code(path, sample[path]) for path in self._space.domains})
        self._asked[number] = self._study.ask(self._distributions)

    def tell(self, number: int, values: Sequence[float] | None, curve: Sequence[tuple[int, float]]) -> None:
        trial = self._asked.pop(number)
        if values is not None:
            self._study.tell(trial, list(values))
        elif curve and len(self._objective.metrics) == 1:
            turned = -1.0 if METRICS[self._objective.watched].goal != self._objective.first.goal else 1.0
            for epoch, value in curve:
                trial.report(turned * value, epoch)
            self._study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)

    def _distribution(self, path: str) -> Any:
        domain, kinds = self._space.domains[path], self._optuna.distributions
        if isinstance(domain, IntRange):
            return kinds.IntDistribution(domain.low, domain.high, log=domain.log)
        if isinstance(domain, FloatRange):
            return kinds.FloatDistribution(domain.low, domain.high, log=domain.log)
        if isinstance(domain, Choice):
            return kinds.CategoricalDistribution(range(len(domain.values)))
        raise ConfigError(f"{path}: --search optuna knows choices and ranges only: use --search random")

    def _value(self, path: str, code: Any) -> Any:
        domain = self._space.domains[path]
        if isinstance(domain, Choice):
            return domain.values[code]
        return domain.rounded(code) if isinstance(domain, FloatRange) else code

    def _code(self, path: str, value: Any) -> Any:
        domain = self._space.domains[path]
        return domain.values.index(value) if isinstance(domain, Choice) else value
