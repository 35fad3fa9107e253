"""Tracking in a real PostgreSQL server: two uploaders at once leave what one leaves in a database file, also when sent again."""

import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from postgres import PostgresServer

from unictokens.tracking.address import sqlite_uri
from unictokens.tracking.mlflow_server import MlflowServer
from unictokens.tracking.server import Refused
from unictokens.tracking.spool import Spools
from unictokens.tracking.tracked import Tracked
from unictokens.tracking.uploader import Uploader, drain

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")


def a_job(root: Path, uri: str) -> None:
    """What a job of eight concepts and a lane writes down."""
    job = Tracked(root, uri).tracker("job", {"kind": "job"})
    job.params({"concepts": 8})
    inner = Tracked(root, uri, job.above)
    lane = inner.tracker("lane-0", {"kind": "lane"})
    for step in range(30):
        lane.metrics(step + 1, {"system/cpu_utilization_percentage": 50.0 + step})
    lane.close("finished")
    for number in range(8):
        folder = root / "runs" / f"run-{number}"
        tracker = inner.tracker(f"run-{number}", {"concept": "bo"}, folder)
        tracker.params({f"p{index}": index for index in range(120)})
        for step in range(40):
            odd = (math.nan, math.inf, -0.5, 1e-30)[step % 4]
            tracker.metrics(step, {"total_loss": 1.0 / (step + number + 1), "odd": odd})
        Image.new("RGB", (8, 8), "red").save(folder / "0.png")
        tracker.image("preview/0", 20, folder / "0.png")
        (folder / "concept.safetensors").write_bytes(b"rows %d" % number)
        tracker.published(f"concept-{number % 2}", number + 1, folder / "concept.safetensors")
        tracker.close("failed" if number == 3 else "finished")
    job.metrics(0, {"finished": 7.0})
    job.close("failed")


def contents(uri: str) -> dict[str, Any]:
    """All that a server has of us, by names that do not depend on the server."""
    client = mlflow.MlflowClient(uri, uri)
    runs = client.search_runs([client.get_experiment_by_name("unictokens").experiment_id], max_results=1000)
    names = {run.info.run_id: run.info.run_name for run in runs}
    assert len(set(names.values())) == len(names), "a run is there twice"
    found: dict[str, Any] = {}
    for run in runs:
        histories = {
            key: [(one.step, one.timestamp, repr(one.value)) for one in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        found[run.info.run_name] = {
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "params": run.data.params,
            "parent": names.get(run.data.tags.get("mlflow.parentRunId", ""), ""),
            "tags": {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
            "metrics": {key: sorted(values) for key, values in histories.items()},
            "files": sorted(len(client.list_artifacts(run.info.run_id, path)) for path in ("images", "model")),
        }
    versions = client.search_model_versions("name LIKE 'unictokens-%'")
    found["versions"] = sorted((one.name, one.tags["unictokens.version"], names[one.run_id]) for one in versions)
    return found


def stable(uri: str) -> str:
    """The run whose rows `stable` of concept-1 means."""
    client = mlflow.MlflowClient(uri, uri)
    return client.get_run(client.get_model_version_by_alias("unictokens-concept-1", "stable").run_id).info.run_name


def test_two_uploaders_at_once_leave_in_postgresql_what_one_leaves_in_a_file(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = postgres_server.database("tracking")
    # The application of other tests in this process wants its artifacts sent through it; these go straight to a folder.
    for name in [name for name in os.environ if name.startswith("_MLFLOW_SERVER_")]:
        monkeypatch.delenv(name)
    with pytest.raises(Refused, match="mlflow experiments create -n unictokens"):
        MlflowServer(postgres).check()
    mlflow.MlflowClient(postgres, postgres).create_experiment("unictokens", (tmp_path / "files").as_uri())
    file, spools = sqlite_uri(tmp_path), Spools(tmp_path / "out")
    a_job(spools.root, file)
    servers = [MlflowServer(postgres), MlflowServer(postgres)]

    def send(server: MlflowServer, address: str) -> None:
        drain(Uploader(spools, address, server), spools.all, 120.0)

    def send_twofold() -> None:
        threads = [threading.Thread(target=send, args=(server, postgres)) for server in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    send_twofold()
    send(MlflowServer(file), file)
    assert spools.left(postgres, spools.all()).events == spools.left(file, spools.all()).events == 0
    expected = contents(file)
    assert len(expected) == 11 and len(expected["run-2"]["metrics"]["total_loss"]) == 40
    assert contents(postgres) == expected and list((tmp_path / "files").rglob("concept.safetensors"))
    for server in (MlflowServer(file), servers[0]):
        assert server.alias("concept-1", {"stable": 4})
    assert stable(postgres) == stable(file) == "run-3"

    spools.forget(postgres)  # as if every answer had been lost: all is sent again
    send_twofold()
    assert contents(postgres) == expected
