"""Tracking in a real PostgreSQL server: two uploaders at once leave what one leaves in a database file, also when sent again.

The server is the machine's or Debian's package, installed by apt-get where this is root's machine; else skipped with the reason.
"""

import math
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unictokens.tracking.address import sqlite_uri
from unictokens.tracking.mlflow_server import MlflowServer
from unictokens.tracking.server import Refused
from unictokens.tracking.spool import Spools
from unictokens.tracking.tracked import Tracked
from unictokens.tracking.uploader import Uploader, drain

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")

NOBODY = 65534
"""PostgreSQL refuses to run as root."""


def binaries() -> Path | None:
    """The folder of initdb and postgres."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("postgres")
    places += [Path(found).resolve().parent] if found else []
    return next((place for place in places if (place / "initdb").exists()), None)


def install() -> None:
    """Debian's package, where that is possible; what stands in the way is said by the skip."""
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "postgresql"]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(command, capture_output=True, env=quiet, timeout=180, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"apt-get could not install postgresql: {error}")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a database in a server of our own."""
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: pip install 'unictokens[postgres]'")
    if binaries() is None:
        install()
    place = binaries()
    if place is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    data = folder / "data"
    user: dict[str, Any] = {}
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    initdb = [place / "initdb", "-D", data, "-U", "keeper", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"]
    made = subprocess.run(initdb, capture_output=True, text=True, cwd=folder, check=False, **user)
    if made.returncode:
        shutil.rmtree(folder)
        pytest.skip(f"initdb refused: {made.stderr[-300:]}")
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", folder, "-p", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [place / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **user
        )
    try:
        until = time.monotonic() + 60
        ready = [place / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-500:]
            time.sleep(0.2)
        yield f"postgresql://keeper@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # "fast": it does not wait for connections that pools keep
        process.wait(30)
        shutil.rmtree(folder)


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
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
