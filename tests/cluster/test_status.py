"""Watching and steering a job by its folder: what its keeper and driver wrote is what is shown; no Ray anywhere."""

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_fakes import learned, runs
from fake_server import FakeServer
from rich.console import Console

from cluster.__main__ import main
from cluster.folder import DRIVER, JobFolder
from cluster.keeper import Keeper, prepare
from cluster.lease import Lease, Owner, Watch, take_lease
from cluster.logs import LogReader
from cluster.plan import JobPlan, Refused, Skipped
from cluster.queue import RunQueue
from cluster.retry import reopen
from cluster.run_status import Ticket
from cluster.snapshot import SILENT_SECONDS, LaneView, Snapshot, Watched
from cluster.status import SHOWN_RUNS, duration, interesting, render
from cluster.submit import JOB, Attempt
from cluster.which import RAY_JOB, SENT_AS, note_sent_as
from unictokens.errors import ConfigError, StorageError
from unictokens.storage.base import Place
from unictokens.training.session import Progress

GIB = 2**30


def local(place: Place) -> Path:
    assert isinstance(place, Path)
    return place


def ticket(keeper: Keeper, lane: str, ask: str) -> Ticket:
    handed = keeper.take(lane, ask).handed
    assert handed is not None
    return handed.ticket


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """A job of four concepts (one learned before, one with broken data): one is published, one failed, one runs, one waits."""
    *plans, before = runs(5)
    plan = JobPlan(
        ("c0", "c1", "c2", "c3", "c4", "c9"), tuple(plans), (Skipped(before, 2),), (Refused("c9", "no photos"),)
    )
    folder = JobFolder(tmp_path, "job-1")
    prepare(folder, plan)
    keeper = Keeper(folder)
    keeper.finish(*((first := ticket(keeper, "lane-0", "1")), learned(first)))
    keeper.fail(ticket(keeper, "lane-0", "2"), "the loss is not finite", lasting=True)
    running = ticket(keeper, "lane-0", "3")
    losses = {"understanding": 0.5, "generation": 2.0, "total": 2.5}
    keeper.report(running, Progress(concept="c2", stage="warmup", epoch=2, epochs=2, step=1, steps=4, losses=losses))
    return folder


def drive(folder: JobFolder) -> Lease:
    lease = take_lease(folder.place, DRIVER, Owner.here(folder.name), Watch())
    assert isinstance(lease, Lease)
    return lease


def note(folder: JobFolder, **more: object) -> None:
    lane = {
        "lane": "lane-0",
        "node": "n",
        "host": "h",
        "process": 7,
        "idle": 1.5,
        "memory": GIB,
        "device_memory": 2 * GIB,
    }
    values = {"time": time.time(), "done": 0.6, "counts": {}, "lanes": [{**lane, "runs": ["c2-x"]}], **more}
    folder.write_lanes(values)


def text(snapshot: Snapshot) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render(snapshot))
    return console.export_text()


def test_a_job_under_way_is_shown_as_its_keeper_and_driver_wrote_it(folder: JobFolder) -> None:
    drive(folder)
    note(folder)
    snapshot = Watched(folder).look()
    assert (snapshot.state, snapshot.done) == ("running", 0.6)
    assert snapshot.counts == {"finished": 1, "failed": 1, "running": 1, "waiting": 1}
    assert snapshot.lanes == (
        LaneView(
            lane="lane-0", host="h", process=7, node="n", idle=1.5, memory=GIB, device_memory=2 * GIB, runs=("c2-x",)
        ),
    )
    shown = text(snapshot)
    for word in (
        "job-1",
        "running",
        "60%",
        "1 learned before",
        "2.0 GiB",
        "not finite",
        "version 1",
        "2/2",
        "generation 2.000",
        "no photos",
    ):
        assert word in shown, word


def test_a_snapshot_arrives_from_a_cluster_as_it_was(folder: JobFolder) -> None:
    drive(folder)
    note(folder)
    snapshot = Watched(folder).look()
    assert Snapshot.from_json(snapshot.to_json()) == snapshot and "\n" not in snapshot.to_json()
    for wrong in ("{}", "[]", "nonsense", snapshot.to_json().replace('"lanes"', '"lane"', 1)):
        with pytest.raises(StorageError, match="no snapshot"):
            Snapshot.from_json(wrong)


def test_what_became_of_the_driver_decides_the_state(folder: JobFolder) -> None:
    assert Watched(folder).look().state == "interrupted"  # a run is under way, and nobody drives
    lease = drive(folder)
    assert Watched(folder).look().state == "running"
    folder.ask_stop()
    assert Watched(folder).look().state == "stopping"
    (file,) = local(folder.place).glob("driver-*.lease")
    os.utime(file, (1.0, time.time() - SILENT_SECONDS - 1))
    silent = Watched(folder).look()
    assert silent.state == "silent" and "may be dead" in text(silent)
    lease.release()
    keeper = Keeper(folder)
    keeper.lane_lost("lane-0", "gone", strike=False)
    assert Watched(folder).look().state == "stopped"
    keeper.give_up("no lane was left")
    over = Watched(folder).look()
    assert over.state == "failed" and over.over and "retry job-1" in text(over)


def test_a_note_of_an_earlier_driver_is_not_shown(folder: JobFolder) -> None:
    drive(folder)
    note(folder, time=time.time() - SILENT_SECONDS - 1, done=0.9)
    snapshot = Watched(folder).look()
    assert not snapshot.lanes and snapshot.done < 0.9


def test_the_time_to_go_follows_from_the_pace_of_this_driver(folder: JobFolder) -> None:
    drive(folder)
    now = time.time()
    note(folder, time=now, done=0.6, since=now - 30, begun_with=0.5)
    assert Watched(folder).look().remaining == pytest.approx(120.0)
    note(folder, time=now, done=0.6, since=now - 30, begun_with=0.6)
    assert Watched(folder).look().remaining is None
    assert [duration(seconds) for seconds in (61.0, 600.0, 7260.0)] == ["61 s", "10 min", "2:01"]


def test_of_many_concepts_the_interesting_are_shown() -> None:
    statuses = list(RunQueue(runs(100)).statuses())
    statuses[50] = replace(statuses[50], state="failed", error="broken")
    statuses[99] = replace(statuses[99], state="running")
    shown = [int(status.concept[1:]) for status in interesting(statuses)]
    assert len(shown) == SHOWN_RUNS and {50, 99} <= set(shown) and shown == sorted(shown)


def test_the_command_says_the_state_in_its_exit_code(folder: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(folder.output)]
    assert main(["status", *out]) == 130
    assert "train --resume job-1 continues" in capsys.readouterr().out
    assert main(["status", "job-1", *out, "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["counts"]["failed"] == 1
    drive(folder)
    assert main(["status", *out, "--json"]) == 1  # one has failed, the job goes on
    for words, expected in (
        (["status", "job-2", *out], "it has job-1"),
        (["status", "--out", f"{folder.output}/nowhere"], "no job was ever started"),
        (["logs", "job-1", *out, "--lane", "../../x"], "no name of a lane"),
        (["logs", "job-1", *out, "--lane", "lane-7"], "it has lane-0"),
    ):
        capsys.readouterr()
        assert main(words) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert expected in line


def test_logs_of_lanes_are_one_story_and_each_line_is_told_once(folder: JobFolder) -> None:
    logs = local(folder.output) / "logs"
    logs.mkdir()
    first, second = logs / "lane-0.log", logs / "lane-1.log"
    first.write_text("2026-01-01 10:00:00,100 begins\n2026-01-01 10:00:00,300 fails\nTraceback\n  deep\n")
    second.write_text("2026-01-01 10:00:00,200 begins too\n2026-01-01 10:00:00,4")
    reader = LogReader(folder)
    lane = LaneView(lane="lane-1", host="h", process=1)
    reader.choose(replace(Watched(folder).look(), lanes=(lane,)))
    assert list(reader.read()) == [
        "lane-0  2026-01-01 10:00:00,100 begins",
        "lane-1  2026-01-01 10:00:00,200 begins too",
        "lane-0  2026-01-01 10:00:00,300 fails",
        "lane-0  Traceback",
        "lane-0    deep",
    ]
    assert list(reader.read()) == []
    with second.open("a") as file:
        file.write("00 ends\n")
    assert list(reader.read()) == ["lane-1  2026-01-01 10:00:00,400 ends"]


def test_a_cancelled_job_is_asked_to_stop(folder: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(folder.output)]
    assert main(["cancel", *out]) == 0
    assert "not running" in capsys.readouterr().out and not folder.stop_asked()
    drive(folder)
    assert main(["cancel", *out]) == 0
    assert "end after their epoch" in capsys.readouterr().out and folder.stop_asked()


def test_what_failed_waits_again(folder: JobFolder) -> None:
    assert reopen(folder) == ["c1"]
    status = {status.concept: status for status in Watched(folder).look().runs}["c1"]
    assert (status.state, status.strikes, status.error) == ("waiting", 0, "")
    with pytest.raises(ConfigError, match="nothing of 'job-1' has failed"):
        reopen(folder)


def test_a_job_is_known_by_the_name_it_was_sent_under(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note_sent_as(folder)
    assert not (local(folder.place) / SENT_AS).exists()
    monkeypatch.setenv(RAY_JOB, json.dumps({"metadata": {JOB: "train-abc"}}))
    note_sent_as(folder)
    assert main(["status", "train-abc", "--out", str(folder.output), "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["job"] == "job-1"


def sent(status: str) -> FakeServer:
    metadata = {JOB: "train-abc", "out": "/shared/out"}
    return FakeServer(known=[Attempt(id="train-abc-1", status=status, metadata=metadata)])


def reach(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let --address reach this server."""
    monkeypatch.setattr("cluster.which.connect", lambda address, token: server)
    return ["--address", server.address]


def test_the_cluster_itself_is_asked_how_a_job_stands(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = sent("RUNNING")
    server.says = f"-- begin --\nWARNING: something\n{Watched(folder).look().to_json()}\n"
    assert main(["status", *reach(server, monkeypatch)]) == 130
    assert "interrupted" in capsys.readouterr().out
    assert "python -m cluster status train-abc --out /shared/out --json" in server.sent[0].command
    server.says = "-- begin --\nerror: no job was ever started into '/shared/out': check --out\n"
    assert main(["status", "train-abc", *reach(server, monkeypatch)]) == 2
    assert "no job was ever started" in capsys.readouterr().err


def test_a_job_whose_driver_waits_is_said_to_wait_and_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = sent("PENDING")
    there = reach(server, monkeypatch)
    assert main(["status", *there]) == 2
    assert "waits for the cluster" in capsys.readouterr().err
    assert main(["retry", *there]) == 2
    assert main(["cancel", *there]) == 0
    assert server.attempt("train-abc-1").status == "STOPPED"
    assert main(["cancel", *there]) == 0


def test_a_job_on_a_cluster_is_cancelled_by_its_own_means_and_retried_as_its_next_attempt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = sent("RUNNING")
    there = reach(server, monkeypatch)
    server.says = "-- begin --\njob-1: concepts end after their epoch\n"
    assert main(["cancel", *there]) == 0
    assert capsys.readouterr().out.strip() == "job-1: concepts end after their epoch"
    assert server.attempt("train-abc-1").status == "RUNNING"
    server.end("train-abc-1", "FAILED", 1)
    assert main(["retry", *there]) == 0
    assert server.sent[-1].id == "train-abc-2"
    assert server.sent[-1].command == "python -m cluster retry train-abc --out /shared/out"


def test_the_log_of_a_sent_job_is_its_drivers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = sent("RUNNING")
    server.says, server.code = "bo: warmup\nbo: published v1\n", 1
    there = reach(server, monkeypatch)
    assert main(["logs", *there]) == 0
    assert capsys.readouterr().out == server.says
    assert main(["logs", "--follow", *there]) == 1
    assert capsys.readouterr().out == server.says
