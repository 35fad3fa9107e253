"""Lanes and commands whose output is a bucket: another machine goes on with nothing but the bucket, to the same bytes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bucket_lane
import pytest
from cluster_fakes import runs
from places import FaultyFileSystem

from cluster.__main__ import main
from cluster.carrier import carried
from cluster.folder import JobFolder
from cluster.keeper import Keeper, prepare
from cluster.lane_desk import Guarded
from cluster.logs import LogReader
from cluster.plan import JobPlan
from cluster.snapshot import Watched
from unictokens.concepts.store import ConceptStore
from unictokens.output import Output
from unictokens.storage.base import Place, open_storage
from unictokens.storage.workspace import MirroredWorkspace
from unictokens.tracking.jsonl import read_events
from unictokens.tracking.tracked import Tracked
from unictokens.training.session import Withdrawn

URL = "faulty://bucket/out"
Lane = Callable[[Place, str, Path, int], int]
"""An output, the lane's name, a scratch folder, and at which of its reports it is killed (0: at none)."""


def lasting(place: Place) -> dict[str, bytes]:
    """Bytes of what must be the same however often a job was broken off: checkpoints, and published rows without their date."""
    storage, store = open_storage(place), Output(place).store
    kept = {name: storage.read(name) or b"" for name in storage.list() if "/checkpoints/" in name}
    for concept in bucket_lane.CONCEPTS:
        for number, rows in enumerate(store.get(concept).tokens.tensors()):
            kept[f"{concept} {number}"] = rows.numpy().tobytes()
    return kept


@pytest.fixture(scope="module")
def lane(toyland: Path, tiny_base: Path, short_settings: list[str]) -> Lane:
    """Works off a job in a process of its own, which keeps what does not last in `scratch`; returns its exit code."""

    def run(out: Place, name: str, scratch: Path, kill_at: int) -> int:
        given = [str(toyland), str(tiny_base), str(out), name, str(kill_at), *short_settings]
        environment = {**os.environ, "TMPDIR": str(scratch)}  # whoever is killed leaves its scratch folder behind
        command = [sys.executable, bucket_lane.__file__, *given]
        process = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert process.returncode in (0, -signal.SIGKILL), process.stderr
        return process.returncode

    return run


@pytest.fixture(scope="module")
def undisturbed(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output, in a folder, of a job that nobody broke off."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert lane(folder / "out", "lane-c", folder, 0) == 0
    return folder / "out"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_killed_lane_is_continued_by_a_machine_that_has_only_the_bucket(
    kind: str, request: pytest.FixtureRequest, lane: Lane, undisturbed: Path, tmp_path: Path
) -> None:
    out = f"{request.getfixturevalue(kind)}/{tmp_path.name}"
    assert lane(out, "lane-a", tmp_path, 5) == -signal.SIGKILL
    folder = JobFolder(out, "job-1")
    killed = Watched(folder).look()
    assert killed.state == "interrupted" and killed.counts == {"running": 1, "waiting": 1}
    assert ConceptStore(f"{out}/store").names() == ()
    left = set(tmp_path.iterdir())
    assert lane(out, "lane-b", tmp_path, 0) == 0
    assert set(tmp_path.iterdir()) == left, "a lane that ends in peace takes its scratch folder along"
    over = Watched(folder).look()
    assert over.state == "finished" and {run.lane for run in over.runs} == {"lane-b"}
    assert {name: len(ConceptStore(f"{out}/store").versions(name)) for name in bucket_lane.CONCEPTS} == {
        "bo": 1,
        "tavo": 1,
    }
    reader = LogReader(folder, "lane-b")
    reader.choose(over)
    assert "continues after" in " ".join(reader.read())

    assert lasting(out) == lasting(undisturbed) and len(lasting(out)) > 10
    in_bucket, on_disk = ({name for name in open_storage(place).list("runs")} for place in (out, undisturbed))
    assert {name for name in in_bucket if "lane-" not in name} == {name for name in on_disk if "lane-" not in name}
    assert not Output(out).local.exists(), "watching leaves nothing on this machine"


def test_a_run_that_was_given_away_is_not_brought_to_the_bucket(faulty: type[FaultyFileSystem], tmp_path: Path) -> None:
    lost = False

    def confirm() -> None:
        if lost:
            raise Withdrawn("run 'bo-1' was given to another lane")

    workspace = Guarded(MirroredWorkspace(tmp_path / "scratch", open_storage(URL), "runs/bo-1"), confirm)
    (workspace.folder / "checkpoints").mkdir(parents=True)
    (workspace.folder / "checkpoints" / "one").write_bytes(b"1")
    workspace.push()
    (workspace.folder / "checkpoints" / "two").write_bytes(b"2")
    lost = True
    with pytest.raises(Withdrawn):
        workspace.push()
    assert open_storage(URL).list() == ("runs/bo-1/checkpoints/one",)


def test_logs_of_a_lane_are_read_where_it_is_not(faulty: type[FaultyFileSystem]) -> None:
    output, folder = Output(URL), JobFolder(URL, "job-1")
    prepare(folder, JobPlan(("c0",), runs(1)))
    assert Keeper(folder).take("lane-0", "1").handed is not None
    reader = LogReader(folder)
    reader.choose(Watched(folder).look())
    log = output.local / "logs" / "lane-0.log"
    log.parent.mkdir(parents=True)
    with carried(output, ["logs/lane-0.log", "tracking/entries/lane-0"], every=0.05):
        log.write_text("2026-01-01 10:00:00,100 begins\n")
        while not (lines := list(reader.read())):
            continue
        faulty.fail_at = len(faulty.requests) + 1
        log.write_text("2026-01-01 10:00:00,100 begins\n2026-01-01 10:00:00,200 ends\n")
        while len(faulty.requests) < faulty.fail_at + 2:
            continue
        faulty.fail_at = None
    assert [*lines, *reader.read()] == [
        "lane-0  2026-01-01 10:00:00,100 begins",
        "lane-0  2026-01-01 10:00:00,200 ends",
    ]
    output.forget_local()
    assert not output.local.exists()


def test_what_waits_for_a_server_is_the_same_entry_as_what_is_kept(tmp_path: Path) -> None:
    scratch, kept = tmp_path / "scratch", tmp_path / "scratch/runs/bo-1"
    tracked = Tracked(scratch, "http://127.0.0.1:9", named="s3://bucket/out")
    for _ in range(2):  # the second is another machine, which has only what is kept
        tracked.passing("bo-1", {"concept": "bo"}, kept).close("stopped")
        waiting = read_events(scratch / "tracking/entries/bo-1")
        assert waiting[0]["spool"] == read_events(kept)[0]["spool"] and waiting[-1]["status"] == "stopped"
        (scratch / "tracking/entries/bo-1/events.jsonl").unlink()
    Tracked(scratch, None).passing("bo-1", {}, kept).close("stopped")
    assert not (scratch / "tracking/entries/bo-1/events.jsonl").exists(), "nobody is to send it"


def test_what_a_bucket_cannot_do_is_refused_in_a_line(
    toyland: Path, tiny_base: Path, faulty: type[FaultyFileSystem], capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "--data", str(toyland), "--concepts", "bo", "--backbone", str(tiny_base), "--out"]
    for words, named in (
        ([*train, "careless://bucket"], "If-None-Match"),
        ([*train, URL, "--tracking-uri", "sqlite:////tmp/mlflow.db"], "name a server"),
        (["train", "--resume", "job-1", "--out", URL], "no job 'job-1'"),
        (["status", "--out", URL], "no job was ever started"),
        (["track", URL], "holds no tracked runs"),
        (["sweep", "--space", "token_budget", "--data", str(toyland), "--out", URL], "local path"),
    ):
        assert main(words) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert named in line
