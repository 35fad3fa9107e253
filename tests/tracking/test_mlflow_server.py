"""Tracking in a real MLflow database file: nested runs, pictures, continuation, the registry, and a server that is not there."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from unictokens.errors import StorageError
from unictokens.tracking.address import shown, sqlite_uri
from unictokens.tracking.mlflow_server import MlflowServer
from unictokens.tracking.server import Away, Number, Refused, Setting
from unictokens.tracking.spool import Spools
from unictokens.tracking.tracked import Tracked
from unictokens.tracking.uploader import Uploader, drain

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sqlite_uri(tmp_path_factory.mktemp("tracking"))


@pytest.fixture(scope="module")
def server(uri: str) -> Iterator[MlflowServer]:
    yield MlflowServer(uri)


@pytest.fixture
def tracked(tmp_path: Path, uri: str) -> Tracked:
    return Tracked(tmp_path / "out", uri)


def sent(tracked: Tracked, server: MlflowServer) -> None:
    spools = Spools(tracked.root)
    assert tracked.uri is not None
    assert drain(Uploader(spools, tracked.uri, server), spools.all, 30.0).events == 0


def runs(uri: str, name: str) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("unictokens")
    return list(client.search_runs([experiment.experiment_id], f"tags.`unictokens.run` = '{name}'"))


def whole_run(tracked: Tracked, name: str, concept: str, steps: int = 50) -> None:
    """Of a run's events one of each kind, in a run's folder."""
    folder = tracked.root / "runs" / name
    tracker = tracked.tracker(name, {"concept": concept}, folder)
    tracker.params({f"stages.s{number}.optim.lr": number for number in range(150)})
    for step in range(steps):
        tracker.metrics(step, {"total_loss": 1.0 / (step + 1), "odd": float("nan") if step % 2 else float("inf")})
    (folder / "previews").mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "previews/0.png")
    tracker.image("preview/0", 20, folder / "previews/0.png")
    (folder / "concept.safetensors").write_bytes(b"rows of " + name.encode())
    tracker.artifact(folder / "concept.safetensors")
    tracker.published(concept, 1, folder / "concept.safetensors")
    tracker.close("finished")


def test_one_parent_and_a_nested_run_with_everything(uri: str, server: MlflowServer, tracked: Tracked) -> None:
    job = tracked.tracker("job-1", {})
    job.params({"concepts": "bo"})
    whole_run(Tracked(tracked.root, uri, job.above), "bo-1", "bo")
    job.close("finished")
    sent(tracked, server)

    client = mlflow.MlflowClient(uri)
    (parent,), (child,) = runs(uri, "job-1"), runs(uri, "bo-1")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id and child.data.tags["concept"] == "bo"
    assert (child.info.status, parent.info.status) == ("FINISHED", "FINISHED")
    assert len(child.data.params) == 150
    assert len(client.get_metric_history(child.info.run_id, "total_loss")) == 50
    artifacts = [item.path for item in client.list_artifacts(child.info.run_id)]
    assert artifacts == ["concept.safetensors", "images", "model"]
    pictures = [item.path for item in client.list_artifacts(child.info.run_id, "images")]
    assert len(pictures) == 2 and all("preview~0+step+20+timestamp+" in path for path in pictures)  # and its thumbnail


def test_sent_twice_is_there_once(uri: str, server: MlflowServer, tracked: Tracked) -> None:
    whole_run(tracked, "twice", "twice")
    sent(tracked, server)
    for cursor in (tracked.root / "tracking/sent").rglob("*.json"):
        cursor.unlink()
    sent(tracked, server)
    client = mlflow.MlflowClient(uri)
    (run,) = runs(uri, "twice")
    for name in ("total_loss", "odd"):
        assert len(client.get_metric_history(run.info.run_id, name)) == 50
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2
    assert len(client.search_model_versions("name = 'unictokens-twice'")) == 1


def test_a_resumed_run_continues_its_entry(uri: str, server: MlflowServer, tracked: Tracked) -> None:
    for step, status in ((1, "stopped"), (2, "finished")):
        tracker = tracked.tracker("bo-2", {})
        tracker.metrics(step, {"loss": 2.0 / step})
        tracker.close(status)  # type: ignore[arg-type]
        sent(tracked, server)
        (run,) = runs(uri, "bo-2")
        assert run.info.status == {"stopped": "KILLED", "finished": "FINISHED"}[status]
    history = mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, "loss")
    assert [metric.step for metric in history] == [1, 2]


def test_a_killed_process_leaves_no_run_open(uri: str, server: MlflowServer, tracked: Tracked) -> None:
    begin = (
        "import os, sys; from pathlib import Path\n"
        "from unictokens.tracking.tracked import Tracked\n"
        "Tracked(Path(sys.argv[1]), sys.argv[2]).tracker('killed', {}).metrics(1, {'loss': 2.0})\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", begin, str(tracked.root), uri], check=False)
    sent(tracked, server)
    (run,) = runs(uri, "killed")
    assert run.info.status == "KILLED" and run.data.metrics["loss"] == 2.0
    assert "without a word" in run.data.tags["unictokens.ended"]
    tracked.tracker("killed", {}).close("finished")
    sent(tracked, server)
    (run,) = runs(uri, "killed")
    assert run.info.status == "FINISHED" and "unictokens.ended" not in run.data.tags


def test_a_published_concept_is_a_model_that_anybody_can_download(
    uri: str, server: MlflowServer, tracked: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        folder = tracked.root / "runs" / f"tavo-{number}"
        tracker = tracked.tracker(f"tavo-{number}", {}, folder)
        (folder / "concept.safetensors").write_bytes(b"rows %d" % number)
        tracker.published("tavo", number, folder / "concept.safetensors")
        tracker.close("finished")
    sent(tracked, server)
    assert server.alias("tavo", {"stable": 1, "next": 2})
    assert server.alias("tavo", {"stable": 1})
    assert not server.alias("tavo", {"stable": 1, "lost": 9})
    assert server.alias("nobody", {}) and not server.alias("nobody", {"stable": 1})

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for wanted, rows in (("stable", b"rows 1"), ("latest", b"rows 2")):
        address = f"models:/unictokens-tavo@{wanted}" if wanted == "stable" else f"models:/unictokens-tavo/{wanted}"
        place = mlflow.artifacts.download_artifacts(address, dst_path=str(tmp_path / wanted))
        assert (Path(place) / "concept.safetensors").read_bytes() == rows
    model = mlflow.MlflowClient(uri).get_registered_model("unictokens-tavo")
    assert dict(model.aliases).keys() == {"stable"}


def test_what_mlflow_refuses_is_told_from_what_it_cannot_do_now(server: MlflowServer, uri: str, tmp_path: Path) -> None:
    run = server.open("f" * 32, "strict", {}, "", 1_700_000_000_000, True)
    server.send(run, [Setting("seed", "1"), Number("loss", 1, 1.0, 1_700_000_000_000)])
    for item in (Number("a:b!", 1, 1.0, 1), Setting("seed", "2")):
        with pytest.raises(Refused):
            server.send(run, [item])
    with pytest.raises(Refused):
        server.send("0" * 32, [Number("loss", 1, 1.0, 1)])
    with pytest.raises(Refused):
        server.image(run, tmp_path / "none.png", "preview/0", 1, 1)
    with pytest.raises(Refused):
        server.artifact(run, tmp_path / "none")


def test_a_wrong_address_is_one_line() -> None:
    for uri, kind in (
        ("http://127.0.0.1:9", Away),
        ("nonsense://there", Refused),
        ("sqlite:////proc/nowhere/mlflow.db", StorageError),
    ):
        with pytest.raises(kind) as caught:
            MlflowServer(uri).check()
        assert uri in str(caught.value) and "\n" not in str(caught.value)


def test_passwords_in_addresses_are_not_shown() -> None:
    assert shown("postgresql://me:secret@host:5432/db") == "postgresql://host:5432/db"
    with pytest.raises(StorageError) as caught:
        MlflowServer("http://me:secret@127.0.0.1:9").check()
    assert "secret" not in str(caught.value)
