"""The table of metrics: what each is called, what it means, its labels, and where its numbers are.

The names are Prometheus'; counters get `_total` from whoever shows them, and Ray puts `ray_` before all. Labels are tasks, routes,
results: words of this program, so that there are few and none is a person's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from serve.counted import HttpCounters
from serve.engine.counters import Counters, Histogram, LaneCounters

Value = float | Histogram
Series = tuple[tuple[str, ...], Value]
"""Values of the labels, and the number."""


@dataclass(frozen=True)
class Numbers:
    """The numbers that one process counts: of its engine, of its door."""

    engine: Counters | None = None
    http: HttpCounters | None = None


@dataclass(frozen=True)
class Metric:
    """One line of the table."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]
    series: Callable[[Numbers], Iterator[Series]]

    @property
    def shown(self) -> tuple[str, ...]:
        """What Prometheus calls its series, without Ray's prefix."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (f"{self.name}_total",) if self.kind == "counter" else (self.name,)


def _lanes(of: Callable[[LaneCounters], Value]) -> Callable[[Numbers], Iterator[Series]]:
    def series(numbers: Numbers) -> Iterator[Series]:
        if numbers.engine is not None:
            yield ("drawing",), of(numbers.engine.drawing)
            yield ("answering",), of(numbers.engine.answering)

    return series


def _engine(of: Callable[[Counters], Value]) -> Callable[[Numbers], Iterator[Series]]:
    def series(numbers: Numbers) -> Iterator[Series]:
        if numbers.engine is not None:
            yield (), of(numbers.engine)

    return series


def _requests(numbers: Numbers) -> Iterator[Series]:
    if numbers.engine is None:
        return
    for task in ("drawing", "answering"):
        lane: LaneCounters = getattr(numbers.engine, task)
        for result in ("done", "failed", "cancelled", "timed_out", "refused"):
            yield (task, result), getattr(lane, result)


def _concepts(numbers: Numbers) -> Iterator[Series]:
    if numbers.engine is None:
        return
    for event in ("hits", "loads", "evictions", "errors"):
        yield (event,), getattr(numbers.engine.concepts, event)


def _caches(numbers: Numbers) -> Iterator[Series]:
    if numbers.engine is None:
        return
    for cache in ("photo", "prefix"):
        for result in ("hits", "misses"):
            yield (cache, result), getattr(numbers.engine, f"{cache}_{result}")


def _answers(numbers: Numbers) -> Iterator[Series]:
    if numbers.http is not None:
        for (route, status), count in list(numbers.http.answers.items()):
            yield (route, str(status)), count


def _route_seconds(numbers: Numbers) -> Iterator[Series]:
    if numbers.http is not None:
        for route, seconds in list(numbers.http.seconds.items()):
            yield (route,), seconds


def _inside(numbers: Numbers) -> Iterator[Series]:
    if numbers.http is not None:
        yield (), numbers.http.open


def _open(lane: LaneCounters) -> float:
    return lane.submitted - lane.done - lane.failed - lane.cancelled - lane.timed_out


METRICS: tuple[Metric, ...] = (
    Metric("unictokens_requests", "counter", "requests that ended, by how", ("task", "result"), _requests),
    Metric("unictokens_requests_open", "gauge", "requests waiting or under way", ("task",), _lanes(_open)),
    Metric("unictokens_queue_seconds", "histogram", "to the first work on it", ("task",), _lanes(lambda e: e.queue)),
    Metric("unictokens_request_seconds", "histogram", "to the result", ("task",), _lanes(lambda e: e.whole)),
    Metric(
        "unictokens_first_token_seconds", "histogram", "to an answer's first", (), _engine(lambda e: e.answering.first)
    ),
    Metric(
        "unictokens_batch_width", "histogram", "requests that one pass served", ("task",), _lanes(lambda e: e.width)
    ),
    Metric("unictokens_ticks", "counter", "passes of the model", ("task",), _lanes(lambda e: e.ticks)),
    Metric("unictokens_steps", "counter", "steps of drawings, ids of answers", ("task",), _lanes(lambda e: e.steps)),
    Metric("unictokens_busy_seconds", "counter", "the model's time", ("task",), _lanes(lambda e: e.busy_seconds)),
    Metric(
        "unictokens_broken_ticks", "counter", "passes that failed as a whole", (), _engine(lambda e: e.broken_ticks)
    ),
    Metric("unictokens_concepts", "counter", "rows found, loaded, put away, not loadable", ("event",), _concepts),
    Metric("unictokens_concept_bytes", "gauge", "rows in memory", (), _engine(lambda e: e.concepts.held_bytes)),
    Metric(
        "unictokens_cache", "counter", "pictures known or not: codes, keys and values", ("cache", "result"), _caches
    ),
    Metric("unictokens_http_answers", "counter", "answers by route", ("route", "status"), _answers),
    Metric("unictokens_http_seconds", "histogram", "to the end of an answer", ("route",), _route_seconds),
    Metric("unictokens_http_open", "gauge", "requests inside the door", (), _inside),
)


def cumulated(histogram: Histogram) -> Iterator[tuple[str, float]]:
    """Prometheus' buckets: how many values were up to each bound, `+Inf` last."""
    total = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        total += count
        yield "+Inf" if bound == float("inf") else repr(bound), total
