"""The metrics through Ray, which shows those of all its processes at its metrics port (Prometheus finds it by Ray's own file).

Ray's histograms take single values and ours are counted already, so that buckets, sums and counts go out as gauges that only grow:
for `rate` and `histogram_quantile` they are the same.
"""

from ray.util.metrics import Counter, Gauge

from serve.engine.counters import Histogram
from serve.metrics import METRICS, Numbers, cumulated

REPLICA = "unictokens_replica"
"""Which process counted. Ray may leave its own labels for that away."""


class RayMetrics:
    """Publishes one process's numbers; `publish` again and again."""

    def __init__(self, numbers: Numbers, replica: str) -> None:
        self._numbers = numbers
        self._replica = replica
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._told: dict[tuple[str, tuple[str, ...]], float] = {}
        for metric in METRICS:
            keys = (*metric.labels, REPLICA)
            if metric.kind == "counter":
                self._counters[metric.name] = Counter(metric.name, metric.help, keys)
            elif metric.kind == "gauge":
                self._gauges[metric.name] = Gauge(metric.name, metric.help, keys)
            else:
                for name in metric.shown:
                    more = ("le",) if name.endswith("_bucket") else ()
                    self._gauges[name] = Gauge(name, metric.help, (*keys, *more))

    def publish(self) -> None:
        """Tell Ray the numbers as they are now."""
        for metric in METRICS:
            for labels, value in metric.series(self._numbers):
                tags = {**dict(zip(metric.labels, labels, strict=True)), REPLICA: self._replica}
                if isinstance(value, Histogram):
                    self._histogram(metric.name, tags, value)
                elif metric.kind == "gauge":
                    self._gauges[metric.name].set(value, tags)
                else:
                    more = value - self._told.get((metric.name, labels), 0.0)
                    if more > 0:
                        self._counters[metric.name].inc(more, tags)
                        self._told[metric.name, labels] = value

    def _histogram(self, name: str, tags: dict[str, str], histogram: Histogram) -> None:
        for bound, count in cumulated(histogram):
            self._gauges[f"{name}_bucket"].set(count, {**tags, "le": bound})
        self._gauges[f"{name}_sum"].set(histogram.total, tags)
        self._gauges[f"{name}_count"].set(histogram.count, tags)
