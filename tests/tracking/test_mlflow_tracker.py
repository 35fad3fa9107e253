"""Tracking in a real MLflow database file: nested runs, pictures, continuation, and a server that is not there."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from unictokens.errors import StorageError
from unictokens.tracking.mlflow_tracker import MlflowTracker, open_run, shown, sqlite_uri

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sqlite_uri(tmp_path_factory.mktemp("tracking"))


def test_one_parent_and_a_nested_run_with_everything(uri: str, tmp_path: Path) -> None:
    job = open_run(uri, "job-1")
    job.log_params({"concepts": "bo"})
    tracker = MlflowTracker(uri, "bo-1", job, {"concept": "bo"})
    tracker.params({f"stages.s{number}.optim.lr": number for number in range(150)})
    started = time.perf_counter()
    for step in range(500):
        tracker.metrics(step, {"total_loss": 1.0 / (step + 1)})
    assert time.perf_counter() - started < 0.5, "training waited for the database"
    tracker.image("preview/0", 20, Image.new("RGB", (8, 8), "red"))
    bundle = tmp_path / "concept.safetensors"
    bundle.write_bytes(b"rows")
    tracker.artifact(bundle)
    tracker.close("finished")
    job.close("finished")
    assert tracker.lost == 0

    client = mlflow.MlflowClient(uri)
    (child,) = client.search_runs([job.experiment_id], f"tags.`mlflow.parentRunId` = '{job.run_id}'")
    assert child.info.status == "FINISHED" and child.data.tags["concept"] == "bo"
    assert len(child.data.params) == 150
    assert len(client.get_metric_history(child.info.run_id, "total_loss")) == 500
    assert [item.path for item in client.list_artifacts(child.info.run_id)] == ["concept.safetensors", "images"]
    assert len(client.list_artifacts(child.info.run_id, "images")) == 2  # the picture and its thumbnail


def test_a_resumed_run_continues_its_entry(uri: str) -> None:
    first = open_run(uri, "job-2")
    tracker = MlflowTracker(uri, "bo-2", first)
    tracker.metrics(1, {"loss": 2.0})
    tracker.close("stopped")
    again = open_run(uri, "job-2")
    tracker = MlflowTracker(uri, "bo-2", again)
    tracker.metrics(2, {"loss": 1.0})
    tracker.close("finished")
    assert again.run_id == first.run_id
    client = mlflow.MlflowClient(uri)
    (child,) = client.search_runs([first.experiment_id], f"tags.`mlflow.parentRunId` = '{first.run_id}'")
    assert child.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(child.info.run_id, "loss")] == [1, 2]


def test_trackers_that_begin_side_by_side_lose_nothing(uri: str) -> None:
    """In a fresh process: there mlflow is imported by the trackers' own threads, at once."""
    begin = (
        "import sys; from unictokens.tracking.mlflow_tracker import MlflowTracker\n"
        "trackers = [MlflowTracker(sys.argv[1], name) for name in ('side-1', 'side-2', 'side-3')]\n"
        "for tracker in trackers: tracker.close('finished')\n"
        "print(sum(tracker.lost for tracker in trackers))"
    )
    job = open_run(uri, "job-3")
    done = subprocess.run([sys.executable, "-c", begin, uri], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["0"], done.stderr
    runs = mlflow.MlflowClient(uri).search_runs([job.experiment_id])
    assert {"side-1", "side-2", "side-3"} <= {run.info.run_name for run in runs if run.info.status == "FINISHED"}


def test_an_event_that_cannot_be_told_costs_itself_alone(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("no words for it")

    job = open_run(uri, "job-5")
    tracker = MlflowTracker(uri, "bo-5", job)
    tracker.params({"x": Unspeakable()})
    tracker.metrics(1, {"loss": 2.0})
    tracker.close("finished")
    assert tracker.lost == 1 and "no words for it" in caplog.text
    client = mlflow.MlflowClient(uri)
    (child,) = client.search_runs([job.experiment_id], f"tags.`mlflow.parentRunId` = '{job.run_id}'")
    assert child.info.status == "FINISHED" and child.data.metrics["loss"] == 2.0


def test_a_missing_server_loses_numbers_but_never_stops_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    tracker = MlflowTracker("http://127.0.0.1:9", "bo-3")
    started = time.perf_counter()
    tracker.metrics(1, {"loss": 2.0})
    assert time.perf_counter() - started < 0.1
    tracker.close("failed")
    assert tracker.lost >= 1
    assert "not fully tracked" in caplog.text


def test_a_wrong_address_is_one_line_when_a_job_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for uri in ("http://127.0.0.1:9", "nonsense://there", "sqlite:////proc/nowhere/mlflow.db"):
        with pytest.raises(StorageError) as caught:
            open_run(uri, "job-4")
        assert uri in str(caught.value) and "\n" not in str(caught.value)


def test_passwords_in_addresses_are_not_shown() -> None:
    assert shown("postgresql://me:secret@host:5432/db") == "postgresql://host:5432/db"
