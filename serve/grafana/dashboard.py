"""Grafana's dashboard of the endpoint, built from expressions over `serve.metrics`; its JSON is printed by running this file.

The variable `prefix` is `ray_` on a cluster and empty for `python -m serve --local`.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

WIDTH, HEIGHT, COLUMNS = 8, 7, 3
Unit = Literal["s", "reqps", "short", "percentunit", "bytes", "ops"]


@dataclass(frozen=True)
class Panel:
    """A graph: PromQL expressions, each with what its lines are called."""

    title: str
    unit: Unit
    lines: tuple[tuple[str, str], ...]


def _name(metric: str) -> str:
    return f"${{prefix}}unictokens_{metric}"


def _rate(metric: str, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({_name(metric)}[$__rate_interval]))"


def _quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    parts = f"le, {by}" if by else "le"
    called = f" {{{{{by}}}}}" if by else ""
    return tuple(
        (f"histogram_quantile({share}, {_rate(f'{metric}_bucket', parts)})", f"{text}{called}")
        for share, text in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


def _share(metric: str, chosen: str, by: str) -> str:
    """Of a counter, the part with `chosen`, by a label."""
    some = f"sum by ({by}) (rate({_name(metric)}{{{chosen}}}[$__rate_interval]))"
    return f"{some} / {_rate(metric, by)}"


PANELS: tuple[Panel, ...] = (
    Panel("Answers", "reqps", ((_rate("http_answers_total", "route"), "{{route}}"),)),
    Panel(
        "Errors (4xx, 5xx) by route",
        "percentunit",
        ((_share("http_answers_total", 'status=~"[45].."', "route"), "{{route}}"),),
    ),
    Panel("Statuses", "reqps", ((_rate("http_answers_total", "status"), "{{status}}"),)),
    Panel("Time to the end of an answer", "s", _quantiles("http_seconds", "route")),
    Panel("Time to first token", "s", _quantiles("first_token_seconds")),
    Panel("Time in the queue", "s", _quantiles("queue_seconds", "task")),
    Panel("Requests by result", "reqps", ((_rate("requests_total", "task, result"), "{{task}} {{result}}"),)),
    Panel(
        "Requests open",
        "short",
        (
            (f"sum by (task) ({_name('requests_open')})", "{{task}}"),
            (f"sum ({_name('http_open')})", "inside the doors"),
        ),
    ),
    Panel(
        "Requests per pass (canvases, answers)",
        "short",
        ((f"{_rate('batch_width_sum', 'task')} / {_rate('batch_width_count', 'task')}", "{{task}}"),),
    ),
    Panel("Tokens and drawing steps per second", "ops", ((_rate("steps_total", "task"), "{{task}}"),)),
    Panel(
        "Passes per second",
        "ops",
        ((_rate("ticks_total", "task"), "{{task}}"), (_rate("broken_ticks_total"), "failed")),
    ),
    Panel("The model's time", "percentunit", ((_rate("busy_seconds_total", "task"), "{{task}}"),)),
    Panel("Time to the result, in the engine", "s", _quantiles("request_seconds", "task")),
    Panel("Pictures known", "percentunit", ((_share("cache_total", 'result="hits"', "cache"), "{{cache}}"),)),
    Panel(
        "Concepts found, loaded, put away, not loadable",
        "ops",
        ((_rate("concepts_total", "event"), "{{event}}"),),
    ),
    Panel("Rows of concepts in memory", "bytes", ((f"sum ({_name('concept_bytes')})", "rows"),)),
)


def dashboard() -> dict[str, Any]:
    """The whole dashboard, as Grafana imports it."""
    source = {"type": "prometheus", "uid": "${source}"}
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": panel.title,
            "datasource": source,
            "gridPos": {"x": number % COLUMNS * WIDTH, "y": number // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "targets": [
                {"refId": chr(ord("A") + at), "datasource": source, "expr": expression, "legendFormat": called}
                for at, (expression, called) in enumerate(panel.lines)
            ],
        }
        for number, panel in enumerate(PANELS)
    ]
    choices = [("Ray", "ray_", True), ("--local", "", False)]
    prefix = {
        "name": "prefix",
        "label": "served by",
        "type": "custom",
        "query": "Ray : ray_, --local : ",
        "current": {"text": "Ray", "value": "ray_", "selected": True},
        "options": [{"text": text, "value": value, "selected": chosen} for text, value, chosen in choices],
    }
    return {
        "uid": "unictokens-serve",
        "title": "UniCTokens endpoint",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}, prefix]},
        "panels": panels,
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
