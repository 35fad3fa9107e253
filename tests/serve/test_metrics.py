"""What is counted is shown: under its name, to whoever may see it, with labels that name nobody; the dashboard shows nothing else."""

import json
import re
from pathlib import Path

import pytest
from people import Person
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from serve.api.app import create_app
from serve.api.state import House
from serve.counted import Counted, HttpCounters
from serve.engine.counters import Counters
from serve.grafana.dashboard import dashboard
from serve.metrics import METRICS, Numbers
from serve.metrics_page import WithPage, page
from serve.pulse import BROKEN, Pulse
from unictokens.errors import ServeError

DASHBOARD = Path(__file__).parents[2] / "serve" / "grafana" / "dashboard.json"


def test_every_number_of_the_engine_is_shown_and_histograms_add_up() -> None:
    counters = Counters()
    counters.answering.done, counters.concepts.loads, counters.photo_hits, counters.broken_ticks = 3, 5, 7, 2
    for seconds in (0.004, 0.2, 500.0):
        counters.answering.queue.add(seconds)
    families = {family.name: family for family in text_string_to_metric_families(page(Numbers(counters)).decode())}
    told = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert told["unictokens_requests_total", "answering", "done"] == 3
    assert told["unictokens_concepts_total", "loads"] == 5 and told["unictokens_cache_total", "hits", "photo"] == 7
    assert told["unictokens_broken_ticks_total",] == 2
    assert told["unictokens_queue_seconds_bucket", "0.005", "answering"] == 1
    assert told["unictokens_queue_seconds_bucket", "0.25", "answering"] == 2
    assert told["unictokens_queue_seconds_bucket", "+Inf", "answering"] == 3
    assert told["unictokens_queue_seconds_count", "answering"] == 3
    assert told["unictokens_queue_seconds_sum", "answering"] == pytest.approx(500.204)
    of_the_engine = {metric.name for metric in METRICS if list(metric.series(Numbers(counters)))}
    assert of_the_engine == {name for name, family in families.items() if family.samples}


def test_answers_are_counted_by_route_and_no_label_names_anybody(house: House, ada: Person, give) -> None:  # type: ignore[no-untyped-def]
    counters = HttpCounters()
    app = WithPage(Counted(create_app(house), counters), Numbers(http=counters))
    give(ada, "bo")
    with TestClient(app, client=("127.0.0.1", 5000)) as http:
        http.get("/v1/concepts/bo", headers=ada.headers)
        http.get("/v1/concepts/secret", headers=ada.headers)
        http.get("/v1/concepts/bo")
        http.get("/somewhere/else")
        shown = http.get("/metrics").text
        assert http.get("/metrics", headers={"x-forwarded-for": "10.0.0.1"}).status_code == 404
    assert counters.answers == {
        ("get_concept", 200): 1,
        ("get_concept", 404): 1,
        ("none", 401): 1,
        ("none", 404): 2,
    }
    assert 'unictokens_http_answers_total{route="get_concept",status="200"} 1.0' in shown
    assert not re.search(r"\b(ada|secret|bo|somewhere)\b", shown) and counters.open == 0
    with TestClient(app, client=("192.0.2.1", 5000)) as stranger:
        assert stranger.get("/metrics").status_code == 404


def test_every_panel_shows_metrics_that_exist_and_every_metric_has_one() -> None:
    drawn = json.loads(DASHBOARD.read_text())
    assert drawn == json.loads(json.dumps(dashboard())), "print it again: python -m serve.grafana.dashboard"
    known = {name for metric in METRICS for name in metric.shown}
    used = {
        name
        for panel in drawn["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\$\{prefix\}(\w+)", target["expr"])
    }
    assert used <= known
    assert {metric.name for metric in METRICS if not used & set(metric.shown)} == set()
    labels = {label for metric in METRICS for label in metric.labels} | {"le"}
    for expression in (target["expr"] for panel in drawn["panels"] for target in panel["targets"]):
        assert {label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")} <= labels


def test_a_dead_stuck_or_broken_engine_is_unhealthy_and_a_busy_or_idle_one_is_not() -> None:
    counters, now = Counters(), [0.0]
    pulse = Pulse(counters, clock=lambda: now[0], stall=10.0)
    pulse.check(alive=True)
    now[0] = 100.0
    pulse.check(alive=True)
    for _ in range(5):  # work that goes on
        counters.drawing.submitted += 1
        counters.drawing.ticks += 1
        now[0] += 8.0
        pulse.check(alive=True)
    now[0] += 11.0
    counters.drawing.submitted += 1  # only the line gets longer
    with pytest.raises(ServeError, match="has done nothing for"):
        pulse.check(alive=True)
    counters.drawing.done = counters.drawing.submitted
    pulse.check(alive=True)
    counters.broken_ticks += BROKEN - 1
    pulse.check(alive=True)
    counters.broken_ticks += 1
    with pytest.raises(ServeError, match="passes of the model failed"):
        pulse.check(alive=True)
    counters.drawing.done += 1
    counters.drawing.submitted += 1
    pulse.check(alive=True)
    with pytest.raises(ServeError, match="thread has ended"):
        pulse.check(alive=False)
