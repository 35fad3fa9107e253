"""F18: a real MLflow server that is slow, broken or loses answers at any request has everything once in the end; and a process
that trains never talks to it, so that what it does cannot cost training time.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty_server import FaultyServer
from PIL import Image

from unictokens.errors import StorageError
from unictokens.tracking.mlflow_server import MlflowServer
from unictokens.tracking.node import Uploading
from unictokens.tracking.server import Away
from unictokens.tracking.spool import Spools
from unictokens.tracking.tracked import Tracked, TrackedEntry
from unictokens.tracking.uploader import Uploader

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")


@pytest.fixture(autouse=True)
def calm(mlflow_application: FaultyServer) -> None:
    mlflow_application.faults.clear()


def a_run(tracked: Tracked, name: str) -> str:
    """One event of each kind; returns the folder's key."""
    folder = tracked.root / "runs" / name
    tracker = tracked.tracker(name, {"concept": name}, folder)
    tracker.params({"seed": 1})
    for step in range(20):
        tracker.metrics(step, {"loss": 1.0 / (step + 1)})
    Image.new("RGB", (8, 8), "red").save(folder / "0.png")
    tracker.image("preview/0", 20, folder / "0.png")
    (folder / "concept.safetensors").write_bytes(b"rows")
    tracker.published(name, 1, folder / "concept.safetensors")
    tracker.close("finished")
    return f"runs/{name}"


def check_once(server: FaultyServer, name: str) -> None:
    """Everything of `a_run` is on the server, once."""
    client = mlflow.MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("unictokens")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`unictokens.run` = '{name}'")
    assert run.info.status == "FINISHED" and run.data.params == {"seed": "1"}
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 20
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2
    assert [item.path for item in client.list_artifacts(run.info.run_id, "model")] == ["model/concept.safetensors"]
    assert len(client.search_model_versions(f"name = 'unictokens-{name}'")) == 1


def test_a_server_that_fails_at_any_request_has_everything_once(
    mlflow_application: FaultyServer, tmp_path: Path
) -> None:
    server = mlflow_application
    tracked = Tracked(tmp_path, server.uri)
    Uploader(Spools(tmp_path), server.uri, MlflowServer(server.uri)).send(a_run(tracked, "calm"))
    before = server.requests
    Uploader(Spools(tmp_path), server.uri, MlflowServer(server.uri)).send(a_run(tracked, "counted"))
    number = server.requests - before
    for at, fault in enumerate(("500", "lost", "503", "lost") * (number // 4 + 1)):
        if at >= number:
            break
        key = a_run(tracked, f"run-{at}")
        server.faults[:] = [""] * at + [fault]
        with pytest.raises(Away):
            Uploader(Spools(tmp_path), server.uri, MlflowServer(server.uri)).send(key)
        Uploader(Spools(tmp_path), server.uri, MlflowServer(server.uri)).send(key)
        check_once(server, f"run-{at}")


def test_what_is_too_large_for_a_proxy_is_sent_in_pieces(mlflow_application: FaultyServer, tmp_path: Path) -> None:
    key = a_run(Tracked(tmp_path, mlflow_application.uri), "large")
    server = MlflowServer(mlflow_application.uri)
    server.check()
    mlflow_application.faults[:] = [
        "",
        "",
        "413",
        "413",
    ]  # of two to find and begin the run; then the batch, and its first half
    Uploader(Spools(tmp_path), mlflow_application.uri, server).send(key)
    check_once(mlflow_application, "large")


TRAINING = """
import json, sys, time
from pathlib import Path
from unictokens.tracking.tracked import Tracked
talked = []
sys.addaudithook(lambda event, _: talked.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
tracked, took = Tracked(Path(sys.argv[1]), sys.argv[2]), []
with tracked.uploading():
    tracker = tracked.tracker("bo", {"concept": "bo"})
    tracker.params({f"p{number}": number for number in range(100)})
    for step in range(300):
        started = time.thread_time()
        tracker.metrics(step, {"total_loss": 1.0, "understanding_loss": 2.0, "generation_loss": 3.0})
        took.append(time.thread_time() - started)
        time.sleep(0.01)
    tracker.close("finished")
print(json.dumps({"talked": talked, "mlflow": "mlflow" in sys.modules, "median": sorted(took)[150], "most": max(took)}))
"""


@pytest.mark.parametrize("fault", ["away", "slow", "broken"])
def test_training_never_talks_to_the_server(mlflow_application: FaultyServer, tmp_path: Path, fault: str) -> None:
    uri = "http://127.0.0.1:9" if fault == "away" else mlflow_application.uri
    faults: dict[str, list[str | float]] = {"slow": [10.0] * 50, "broken": ["500"] * 1000}
    mlflow_application.faults[:] = faults.get(fault, [])
    command = [sys.executable, "-c", TRAINING, str(tmp_path), uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    said = json.loads(done.stdout)
    assert said["talked"] == [] and not said["mlflow"]
    assert said["median"] < 500e-6 and said["most"] < 0.1
    spools = Spools(tmp_path)
    assert spools.left(uri, spools.all()).events > 300, "the server took it, so the test says nothing"


def test_a_job_begins_only_where_the_server_answers_unless_told_otherwise(tmp_path: Path) -> None:
    away = Tracked(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(Away) as caught:
        TrackedEntry(away, "job", {})
    assert "127.0.0.1:9" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(StorageError):
        TrackedEntry(Tracked(tmp_path, "nonsense://there"), "job", {}, optional=True)
    entry = TrackedEntry(away, "job", {}, optional=True)
    entry.tracker.metrics(0, {"finished": 1.0})
    left = entry.close("finished", seconds=1.0)
    assert (
        "events of 1 runs wait on disk" in left
        and f"cluster track {tmp_path} --tracking-uri http://127.0.0.1:9" in left
    )


def test_a_server_that_comes_back_is_filled_by_the_node(mlflow_application: FaultyServer, tmp_path: Path) -> None:
    mlflow_application.faults[:] = ["500"] * 3
    tracked = Tracked(tmp_path, mlflow_application.uri)
    with tracked.uploading() as uploading:
        a_run(tracked, "back")
        until = time.monotonic() + 120
        while Spools(tmp_path).waiting() and time.monotonic() < until:
            time.sleep(0.2)
        assert uploading.drain(5.0, {"back": {"stable": 1}}).events == 0
    check_once(mlflow_application, "back")
    aliases = mlflow.MlflowClient(mlflow_application.uri).get_registered_model("unictokens-back").aliases
    assert {name: str(version) for name, version in aliases.items()} == {"stable": "1"}


DRIVER = """
import sys, time
from pathlib import Path
from unictokens.tracking.tracked import Tracked, TrackedEntry
entry = TrackedEntry(Tracked(Path(sys.argv[1]), sys.argv[2]), "driver", {})
entry.tracker.metrics(1, {"loss": 2.0})
print("ready", flush=True)
time.sleep(600)
"""


def test_the_run_of_a_killed_driver_is_closed_by_the_uploader_it_left(
    mlflow_application: FaultyServer, tmp_path: Path
) -> None:
    """F19, with a real kill: the uploader notices, sends what is left, closes the run and goes."""
    command = [sys.executable, "-c", DRIVER, str(tmp_path), mlflow_application.uri]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    client = mlflow.MlflowClient(mlflow_application.uri)
    experiment = client.get_experiment_by_name("unictokens")
    until, runs = time.monotonic() + 120, []
    while time.monotonic() < until and not (runs and runs[0].info.status == "KILLED"):
        time.sleep(0.3)
        runs = client.search_runs([experiment.experiment_id], "tags.`unictokens.run` = 'driver'")
    (run,) = runs
    assert run.info.status == "KILLED" and run.data.metrics == {"loss": 2.0}


def test_a_killed_uploader_is_replaced(mlflow_application: FaultyServer, tmp_path: Path) -> None:
    tracked = Tracked(tmp_path, mlflow_application.uri)
    with Uploading(tmp_path, mlflow_application.uri) as uploading:
        uploading.check()
        killed = uploading._process
        assert killed is not None
        killed.kill()
        a_run(tracked, "replaced")
        until = time.monotonic() + 120
        while Spools(tmp_path).waiting() and time.monotonic() < until:
            time.sleep(0.2)
        assert uploading._process is not killed
    check_once(mlflow_application, "replaced")
