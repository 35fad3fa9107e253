"""Tracking into files: everything is there at once, and a killed writer spoils only its last line."""

import time
from pathlib import Path

import pytest

from unictokens.errors import StorageError
from unictokens.tracking.base import Entry, Trackers
from unictokens.tracking.jsonl import JsonlTracker, read_events, writer_lives


def test_events_are_on_disk_before_the_tracker_is_closed(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path)
    tracker.params({"seed": 3})
    tracker.metrics(40, {"loss": 1.5})
    tracker.image("preview/0", 40, tmp_path / "previews/0.png")
    params, metrics, image = read_events(tmp_path)
    assert params["values"] == {"seed": 3}
    assert (metrics["step"], metrics["values"]) == (40, {"loss": 1.5})
    assert (image["name"], image["step"], image["file"]) == ("preview/0", 40, "previews/0.png")
    tracker.close("finished")
    assert read_events(tmp_path)[-1]["status"] == "finished"
    assert [event["seq"] for event in read_events(tmp_path)] == [0, 1, 2, 3]


def test_a_spool_keeps_its_mark_and_its_count_when_it_goes_on(tmp_path: Path) -> None:
    for job in ("job-1", "job-2"):
        above = JsonlTracker(tmp_path / job, Entry(name=job)).above
        tracker = JsonlTracker(tmp_path, Entry(name="bo", above=above, tags={"concept": "bo"}))
        tracker.close("stopped")
    first, _, second, last = read_events(tmp_path)
    assert first["spool"] == second["spool"] and len(first["spool"]) == 32
    assert [event["above"][0]["name"] for event in (first, second)] == ["job-1", "job-2"] and last["seq"] == 3


@pytest.mark.parametrize(("kind", "event"), [("job", "published"), ("sweep", "artifact"), ("table", "artifact")])
def test_trials_are_not_for_the_registry(tmp_path: Path, kind: str, event: str) -> None:
    outer = JsonlTracker(tmp_path / "outer", Entry(name="outer", tags={"kind": kind}))
    inner = JsonlTracker(tmp_path / "job", Entry(name="job", tags={"kind": "job"}, above=outer.above))
    tracker = JsonlTracker(tmp_path / "run", Entry(name="bo", above=inner.above))
    (tmp_path / "run/concept.safetensors").write_bytes(b"rows")
    tracker.published("bo", 1, tmp_path / "run/concept.safetensors")
    assert read_events(tmp_path / "run")[-1]["event"] == event


def test_a_file_from_elsewhere_is_kept_as_it_was(tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    summary.write_text("first")
    tracker = JsonlTracker(tmp_path / "run")
    tracker.artifact(summary)
    summary.write_text("second")
    (event,) = read_events(tmp_path / "run")
    assert (tmp_path / "run" / event["file"]).read_text() == "first"


def test_a_setting_without_words_costs_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("no words for it")

    JsonlTracker(tmp_path).params({"x": Unspeakable(), "seed": 3})
    assert read_events(tmp_path)[0]["values"] == {"x": "<Unspeakable>", "seed": 3}
    assert "no words for it" in caplog.text


def test_the_writer_is_known_to_be_alive_until_it_is_not(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path)
    assert writer_lives(tmp_path)
    tracker.close("finished")
    assert not writer_lives(tmp_path)


def test_a_tracking_call_costs_a_step_nothing(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path, Entry(name="bo"))
    started = time.perf_counter()
    for step in range(2_000):
        tracker.metrics(step, {"total_loss": 1.0, "understanding_loss": 2.0, "generation_loss": 3.0})
    assert (time.perf_counter() - started) / 2_000 < 500e-6


def test_a_torn_last_line_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    JsonlTracker(tmp_path).metrics(1, {"loss": 2.0})
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    again = JsonlTracker(tmp_path)
    again.metrics(2, {"loss": 1.0})
    again.close("stopped")
    assert [event.get("step") for event in read_events(tmp_path)] == [1, 2, None]
    assert "torn" in caplog.text


def test_unwritable_folder_is_one_line_that_names_it(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="file"):
        JsonlTracker(blocked / "run")


def test_several_trackers_are_told_the_same(tmp_path: Path) -> None:
    both = Trackers((JsonlTracker(tmp_path / "a"), JsonlTracker(tmp_path / "b")))
    both.params({"seed": 1})
    both.metrics(1, {"loss": 2.0})
    bundle = tmp_path / "x.safetensors"
    bundle.write_bytes(b"rows")
    both.published("bo", 1, bundle)
    both.close("failed")
    strip = [[{k: v for k, v in e.items() if k != "time"} for e in read_events(tmp_path / name)] for name in "ab"]
    assert strip[0] == strip[1] and len(strip[0]) == 4
