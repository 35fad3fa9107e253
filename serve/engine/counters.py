"""What the engine counts: plain numbers that whoever shows them reads at any time. Their memory never grows."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


@dataclass
class Histogram:
    """How often values were up to each bound; `counts` has one more for those above all."""

    bounds: tuple[float, ...] = SECONDS
    counts: list[int] = field(default_factory=list)
    count: int = 0
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.count += 1
        self.total += value

    @property
    def mean(self) -> float:
        """Mean of all values; 0 without any."""
        return self.total / self.count if self.count else 0.0


@dataclass
class LaneCounters:
    """One task's numbers.

    refused   found no room; failed counts every other end without a result except those cancelled or timed out
    ticks     passes of the model; width is how many requests each served
    steps     steps of drawings, or ids of answers
    queue     seconds from submission to the first work on it; first: to the first id; whole: to the end with a result
    """

    submitted: int = 0
    refused: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    ticks: int = 0
    steps: int = 0
    busy_seconds: float = 0.0
    width: Histogram = field(default_factory=lambda: Histogram(ROWS))
    queue: Histogram = field(default_factory=Histogram)
    first: Histogram = field(default_factory=Histogram)
    whole: Histogram = field(default_factory=Histogram)


@dataclass
class ShelfCounters:
    """Concepts: found there, loaded, put away for room, could not be loaded; and bytes held now."""

    hits: int = 0
    loads: int = 0
    evictions: int = 0
    errors: int = 0
    held_bytes: int = 0


@dataclass
class Counters:
    """All numbers of one engine.

    photo_hits, photo_misses    pictures whose codes were known, and those that had to be encoded
    prefix_hits, prefix_misses  pictures of questions whose keys and values were kept, and those that had to be read
    broken_ticks                passes that failed as a whole
    """

    drawing: LaneCounters = field(default_factory=LaneCounters)
    answering: LaneCounters = field(default_factory=LaneCounters)
    concepts: ShelfCounters = field(default_factory=ShelfCounters)
    photo_hits: int = 0
    photo_misses: int = 0
    prefix_hits: int = 0
    prefix_misses: int = 0
    broken_ticks: int = 0

    def flat(self) -> dict[str, float]:
        """Every number by its dotted name; of a histogram its count and mean."""
        return dict(_numbers("", self))


def _numbers(before: str, counters: object) -> Iterator[tuple[str, float]]:
    for name, value in vars(counters).items():
        if isinstance(value, int | float):
            yield before + name, value
        elif isinstance(value, Histogram):
            yield f"{before}{name}.count", value.count
            yield f"{before}{name}.mean", value.mean
        else:
            yield from _numbers(f"{before}{name}.", value)
