"""The metrics as Prometheus' text at /metrics, for a server of one process; only this machine may read them."""

from collections.abc import Iterator
from ipaddress import ip_address

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.engine.counters import Histogram
from serve.metrics import METRICS, Numbers, cumulated

PATH = "/metrics"
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class _Collector:
    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Family]:
        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        for metric in METRICS:
            family = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.series(self._numbers):
                if isinstance(value, Histogram):
                    family.add_metric(labels, buckets=list(cumulated(value)), sum_value=value.total)
                else:
                    family.add_metric(labels, value)
            yield family


def page(numbers: Numbers) -> bytes:
    """The metrics as they are now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(numbers))  # type: ignore[arg-type]
    return generate_latest(registry)


class WithPage:
    """Wraps an application; `/metrics` is answered to this machine and is not there for others."""

    def __init__(self, app: ASGIApp, numbers: Numbers) -> None:
        self._app = app
        self._numbers = numbers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mine = scope["type"] == "http" and scope["path"] == PATH and _near(scope)
        if not mine:
            await self._app(scope, receive, send)
            return
        await PlainTextResponse(page(self._numbers), media_type=CONTENT_TYPE_LATEST)(scope, receive, send)


def _near(scope: Scope) -> bool:
    # A proxy on this machine would make everybody near: what came through one is not answered.
    if any(name.startswith(b"x-forwarded-") or name == b"forwarded" for name, _ in scope["headers"]):
        return False
    try:
        return scope.get("client") is not None and ip_address(scope["client"][0]).is_loopback
    except ValueError:
        return False
