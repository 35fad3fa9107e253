"""What a sweep is to make better: scores of the examination, losses of the last epoch, or the number of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unictokens.errors import ConfigError

Goal = Literal["max", "min"]
Source = Literal["questions", "drawings", "history", "layout"]


@dataclass(frozen=True)
class Metric:
    """A number of a finished run.

    source  where it comes from: the examination's questions or drawings, the last epoch's losses, the token layout
    """

    name: str
    goal: Goal
    source: Source

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is strictly better."""
        return one > other if self.goal == "max" else one < other


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *(Metric(name, "max", "questions") for name in ("rec", "recall", "no recall", "lookalike recall", "choice")),
        *(
            Metric(f"{kind} {what}", "max", "questions")
            for kind in ("vqa", "qa")
            for what in ("bleu", "bleu-4", "score")
        ),
        *(
            Metric(name, "max", "drawings")
            for name in ("clip-i", "clip-t", "dino", "face", "face found", "face zero-filled")
        ),
        *(Metric(name, "max", "drawings") for name in ("knowledge score", "knowledge clip-i")),
        *(Metric(name, "min", "history") for name in ("understanding_loss", "generation_loss")),
        Metric("tokens", "min", "layout"),
    )
}
"""By name. `total_loss` is left out: it is a sum by the weights of the losses, so that runs of other weights have another one."""

WATCHED = ("understanding_loss", "generation_loss")
"""What can be watched after every epoch. They carry no weights, so that runs of other loss weights can be compared."""
CHANGES_AN_EPOCH = (
    "method",
    "backbone",
    "stages.*.epochs",
    "stages.*.understanding",
    "stages.*.understanding_limit",
    "stages.*.generation",
)
"""Settings by which the same epoch is something else in every trial, so that nothing can be compared before the end."""


@dataclass(frozen=True)
class Objective:
    """Metrics in order of importance; the first one is of quality. `watched` is compared while trials train."""

    metrics: tuple[Metric, ...]
    watched: str = WATCHED[0]

    @classmethod
    def parse(cls, text: str, watched: str = WATCHED[0]) -> "Objective":
        """From names with commas. Raises ConfigError."""
        names = [
            name.strip().replace("_", " ") if name.strip() not in METRICS else name.strip() for name in text.split(",")
        ]
        unknown = [name for name in names if name not in METRICS]
        if unknown:
            raise ConfigError(f"--metric '{unknown[0]}' is unknown: choose among {', '.join(METRICS)}")
        if len(set(names)) < len(names):
            raise ConfigError(f"--metric {text} names one twice: name each once")
        if METRICS[names[0]].source == "layout":
            raise ConfigError(
                f"--metric {text}: the fewest {names[0]} need no search; name a quality before it, as in rec,tokens"
            )
        if watched not in WATCHED:
            raise ConfigError(f"--watch '{watched}' is unknown: choose one of {', '.join(WATCHED)}")
        return cls(tuple(METRICS[name] for name in names), watched)

    @property
    def first(self) -> Metric:
        """The most important one."""
        return self.metrics[0]

    @property
    def examined(self) -> bool:
        """Whether runs must sit an examination."""
        return any(metric.source in ("questions", "drawings") for metric in self.metrics)

    @property
    def drawn(self) -> bool:
        """Whether the examination needs drawings."""
        return any(metric.source == "drawings" for metric in self.metrics)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(metric.name for metric in self.metrics)


def dominates(one: Sequence[float], other: Sequence[float], metrics: Sequence[Metric]) -> bool:
    """Whether `one` is as good in everything and better in something."""
    pairs = list(zip(one, other, metrics, strict=True))
    if any(metric.better(theirs, mine) for mine, theirs, metric in pairs):
        return False
    return any(metric.better(mine, theirs) for mine, theirs, metric in pairs)
