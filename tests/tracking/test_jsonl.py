"""Tracking into files: everything is there at once, and a killed writer spoils only its last line."""

from pathlib import Path

import pytest
from PIL import Image

from unictokens.errors import StorageError
from unictokens.tracking.base import Trackers
from unictokens.tracking.jsonl import JsonlTracker, read_events


def test_events_are_on_disk_before_the_tracker_is_closed(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path)
    tracker.params({"seed": 3})
    tracker.metrics(40, {"loss": 1.5})
    tracker.image("preview/0", 40, Image.new("RGB", (4, 4)))
    params, metrics, image = read_events(tmp_path)
    assert params["values"] == {"seed": 3}
    assert (metrics["step"], metrics["values"]) == (40, {"loss": 1.5})
    assert (image["name"], image["step"], image["size"]) == ("preview/0", 40, [4, 4])
    tracker.close("finished")
    assert read_events(tmp_path)[-1]["status"] == "finished"


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
    both.artifact(tmp_path / "x.safetensors")
    both.close("failed")
    strip = [[{k: v for k, v in e.items() if k != "time"} for e in read_events(tmp_path / name)] for name in "ab"]
    assert strip[0] == strip[1] and len(strip[0]) == 4
