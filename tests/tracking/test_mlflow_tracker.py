"""Tracking in a real MLflow database file: nested runs, pictures, continuation, and a server that is not there."""

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
