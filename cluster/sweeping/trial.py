"""A trial: one configuration on several concepts and seeds, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any, Literal

from tune_spaces.space import Sample
from unictokens.errors import StorageError

State = Literal["running", "finished", "stopped", "failed"]
Values = Mapping[str, list[float]]
"""Concept to a number per seed."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is known of a trial.

    sample  values by the paths of the space
    parent  the trial whose first stages it begins with, where a population made it
    runs    names of its runs
    curve   (epochs over all stages, mean of the watched metric) as far as it was watched
    scores  by metric, concept and seed; only of finished trials
    error   in one line, of failed ones
    """

    number: int
    sample: Sample
    state: State = "running"
    parent: int | None = None
    runs: tuple[str, ...] = ()
    curve: tuple[tuple[int, float], ...] = ()
    scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state != "running"

    @property
    def epochs(self) -> int:
        """How far it was watched."""
        return self.curve[-1][0] if self.curve else 0

    def mean(self, metric: str) -> float | None:
        """The mean of its concepts' means over seeds; None where it has no number."""
        found = [fmean(values) for values in self.scores.get(metric, {}).values() if values]
        return fmean(found) if found else None

    def spread(self, metric: str) -> float | None:
        """The standard deviation over its runs, all concepts and seeds; None of fewer than two."""
        values = [value for each in self.scores.get(metric, {}).values() for value in each]
        return stdev(values) if len(values) > 1 else None

    def ended(self, state: State, **changes: Any) -> "Trial":
        """The same, over."""
        return replace(self, state=state, **changes)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "number": self.number,
            "sample": self.sample,
            "state": self.state,
            "parent": self.parent,
            "runs": list(self.runs),
            "curve": [list(point) for point in self.curve],
            "scores": self.scores,
            "error": self.error,
            "seconds": self.seconds,
        }

    @classmethod
    def read(cls, values: Any, place: str) -> "Trial":
        """From JSON. Raises StorageError that names `place` for anything else."""
        try:
            known = dict(values)
            known["runs"] = tuple(map(str, known["runs"]))
            known["curve"] = tuple((int(epoch), float(value)) for epoch, value in known["curve"])
            trial = cls(**known)
            if trial.state not in ("running", "finished", "stopped", "failed") or not isinstance(trial.sample, dict):
                raise ValueError(f"state '{trial.state}'")
            return trial
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"'{place}' is damaged ({error}): start the sweep under another --name") from error
