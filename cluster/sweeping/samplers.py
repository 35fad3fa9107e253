"""Where the samples of a sweep come from. A sampler is a small memory without files: what it proposed and heard is told to it again."""

from collections.abc import Sequence
from random import Random
from typing import Literal, Protocol

from tune_spaces.space import Sample, Space
from unictokens.errors import ConfigError

SEARCHES = ("random", "grid", "optuna")
Search = Literal["random", "grid", "optuna"]
TRIES = 50
"""How often a random sample that was proposed before is drawn again, before the space counts as used up."""


class Sampler(Protocol):
    """A search."""

    def ask(self, number: int) -> Sample | None:
        """The sample of trial `number`; numbers come in order. None when there is nothing left to try."""
        ...

    def recall(self, number: int, sample: Sample) -> None:
        """Trial `number` was proposed by an earlier session of the same sweep: nothing is asked for it."""
        ...

    def tell(self, number: int, values: Sequence[float] | None, curve: Sequence[tuple[int, float]]) -> None:
        """How a trial ended: its metrics in order, or None for one that was stopped or failed, and its watched curve."""
        ...


class RandomSampler:
    """Independent samples; the n-th depends on the seed alone. None is proposed twice."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._known: list[Sample] = []

    def ask(self, number: int) -> Sample | None:
        for attempt in range(TRIES):
            sample = self._space.sample(Random(f"{self._seed}/{number}/{attempt}"))
            if sample not in self._known:
                self._known.append(sample)
                return sample
        return None

    def recall(self, number: int, sample: Sample) -> None:
        self._known.append(sample)

    def tell(self, number: int, values: Sequence[float] | None, curve: Sequence[tuple[int, float]]) -> None:
        return None


class GridSampler:
    """Every combination in order."""

    def __init__(self, space: Space, levels: int) -> None:
        self._samples = tuple(space.grid(levels))

    def __len__(self) -> int:
        return len(self._samples)

    def ask(self, number: int) -> Sample | None:
        return self._samples[number] if number < len(self._samples) else None

    def recall(self, number: int, sample: Sample) -> None:
        if self.ask(number) != sample:
            raise ConfigError(
                f"trial {number} of this sweep is no longer on the grid: start another one under a new --name"
            )

    def tell(self, number: int, values: Sequence[float] | None, curve: Sequence[tuple[int, float]]) -> None:
        return None
