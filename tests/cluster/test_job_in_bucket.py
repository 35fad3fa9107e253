"""A job whose output is a bucket: its leases and folder promise there what they promise on a disk, and whatever request
fails, or is answered by nobody, nothing that somebody heard of is lost.
"""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import Clock, learned, runs
from places import FaultyFileSystem

from cluster import journal_tail
from cluster.engines import EngineSettings
from cluster.folder import JobFolder, list_jobs
from cluster.job import driving
from cluster.job_settings import JobSettings, asked_of, settings_of
from cluster.journal import Journal, read_journal
from cluster.keeper import LATER_SECONDS, Keeper, prepare
from cluster.lease import Lease, LeaseLost, Owner, Watch, holder, take_lease
from cluster.plan import JobPlan
from cluster.run_status import Ticket
from cluster.snapshot import Watched
from cluster.summary import read_summary, summarise, write_summary
from unictokens.errors import ConfigError, StorageError
from unictokens.training.session import Progress

PLAN = JobPlan(("c0", "c1", "c2"), runs(3))
URL = "faulty://bucket/out"
ELSEWHERE = Owner("other", "lane-0", 1, "another-host", 7, "1")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_tail, "PATIENCE_SECONDS", 0.0)


def beginning(folder: JobFolder) -> Keeper:
    prepare(folder, PLAN)
    return Keeper(folder)


def ticket(keeper: Keeper, lane: str, ask: str) -> Ticket:
    handed = keeper.take(lane, ask).handed
    assert handed is not None
    return handed.ticket


def at(epoch: int) -> Progress:
    return Progress(concept="c0", stage="warmup", epoch=epoch, epochs=2, step=1, steps=4)


def states(keeper: Keeper) -> dict[str, str]:
    return {status.concept: status.state for status in keeper.statuses()}


def test_a_lease_has_one_holder_and_is_stolen_from_the_silent(bucket: str) -> None:
    clock = Clock()
    watch, mine = Watch(ttl=30.0, clock=clock), Owner.here("job")
    lease = take_lease(bucket, "run", ELSEWHERE, Watch())
    assert isinstance(lease, Lease)
    for _ in range(3):
        assert take_lease(bucket, "run", mine, watch) == ELSEWHERE == holder(bucket, "run")
        clock.now += 20.0
        lease.renew()
    assert take_lease(bucket, "run", mine, watch) == ELSEWHERE, "it has moved all the time"
    assert watch.last(bucket, "run") == (1, 3)
    clock.now += 30.0
    stolen = take_lease(bucket, "run", mine, watch)
    assert isinstance(stolen, Lease)
    with pytest.raises(LeaseLost):
        lease.renew()
    lease.release()
    stolen.check()
    stolen.release()
    assert holder(bucket, "run") is None


def test_a_job_is_kept_watched_stopped_and_continued(bucket: str) -> None:
    folder = JobFolder(bucket, PLAN.name)
    assert list_jobs(bucket) == [] and not folder.begun
    keeper = beginning(folder)
    settings = JobSettings(data=Path("/data"), output=bucket, engine=EngineSettings(backbone="mini"))
    folder.write_asked(asked_of(settings))
    assert settings_of(folder) == settings and folder.plan() == PLAN and list_jobs(bucket) == [PLAN.name]
    first = ticket(keeper, "lane-0", "1")
    keeper.finish(first, learned(first))
    ticket(keeper, "lane-0", "2")
    folder.ask_stop()
    with driving(folder):
        assert not folder.stop_asked(), "what was asked of the last driver is over"
        folder.ask_stop()
        seen = Watched(folder).look()
        assert (seen.state, dict(seen.counts)) == ("stopping", {"finished": 1, "running": 1, "waiting": 1})
        assert seen.age is not None and seen.age < 30
    assert Watched(folder).look().state == "interrupted"
    assert prepare(folder, None) == (PLAN, True)
    assert states(Keeper(folder)) == {"c0": "finished", "c1": "waiting", "c2": "waiting"}
    word = folder.share_word()
    folder.check_shared(word)
    with pytest.raises(StorageError, match="same endpoint"):
        folder.check_shared("old")
    summary = summarise(PLAN, keeper.statuses(), 1.0)
    write_summary(summary, folder.place)
    assert read_summary(folder.place) == summary
    with pytest.raises(ConfigError, match=PLAN.name):
        JobFolder(bucket, "job-2").asked()


def test_a_run_on_its_way_costs_no_request_of_its_own(faulty: type[FaultyFileSystem]) -> None:
    clock, folder = Clock(), JobFolder(URL, "job-1")
    prepare(folder, PLAN)
    keeper = Keeper(folder, clock)
    first = ticket(keeper, "a", "1")
    faulty.requests.clear()
    for epoch in (1, 2):
        keeper.report(first, at(epoch))
        assert keeper.goes_on(first)
    assert faulty.requests == []
    clock.now += LATER_SECONDS
    keeper.bulletin(0, {})
    assert faulty.requests.count("put") == 1
    assert Keeper(folder).statuses()[0].epoch == 2


def live(folder: JobFolder, heard: dict[str, str]) -> None:
    """What a keeper does with its folder; `heard` is what its lanes were told."""
    keeper = Keeper(folder)
    done = ticket(keeper, "a", "1")
    heard["c0"] = "running"
    keeper.report(done, at(1))
    keeper.goes_on(done)
    failing = ticket(keeper, "a", "2")
    heard["c1"] = "running"
    keeper.finish(done, learned(done))
    heard["c0"] = "finished"
    keeper.bulletin(0, {})
    keeper.fail(failing, "torn", lasting=True)
    heard["c1"] = "failed"
    back = ticket(keeper, "b", "3")
    keeper.give_back(back)
    keeper.add(runs(4))
    heard["c3"] = "waiting"


LATER = {
    "waiting": ("waiting",),
    "running": ("running", "finished", "failed"),
    "finished": ("finished",),
    "failed": ("failed",),
}
"""What may be found of something that was heard to be in a state: that, or what it became without anybody hearing of it."""


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
def test_whatever_request_fails_nothing_that_was_heard_is_lost(faulty: type[FaultyFileSystem], lost: bool) -> None:
    folder = JobFolder(URL, "job-1")
    prepare(folder, PLAN)
    live(folder, {})
    requests = len(faulty.requests)
    for number in range(1, requests + 1):
        faulty.store.clear()
        faulty.heal()
        faulty.fail_at, faulty.lost = number, lost
        heard: dict[str, str] = {}
        with pytest.raises(StorageError, match="faulty://bucket/out/jobs/job-1"):
            prepare(folder, PLAN)
            live(folder, heard)
        faulty.heal()
        if not folder.begun:
            assert not heard
            continue
        found = states(Keeper(folder))
        assert all(found[concept] in LATER[state] for concept, state in heard.items()), (number, found, heard)
        # Somebody continues it to its end.
        prepare(folder, None)
        keeper = Keeper(folder)
        while (handed := keeper.take("c", "next").handed) is not None:
            keeper.finish(handed.ticket, learned(handed.ticket))
        assert set(states(keeper).values()) <= {"finished", "failed"}


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
def test_a_queue_sits_out_a_bucket_that_is_away_for_a_moment(
    faulty: type[FaultyFileSystem], monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    monkeypatch.setattr(journal_tail, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(journal_tail, "PAUSES", (0.0,))

    def once() -> OSError:
        FaultyFileSystem.fail_at = None
        return OSError(errno.EIO, os.strerror(errno.EIO))

    def lived(number: int | None) -> tuple[list[dict[str, Any]], int]:
        faulty.store.clear()
        faulty.heal()
        prepare(folder, PLAN)
        faulty.requests.clear()
        faulty.fail_at, faulty.lost, faulty.error = number, lost, lambda: once()
        live(folder, {})
        asked = len(faulty.requests)
        return folder.records(), asked

    folder = JobFolder(URL, "job-1")
    expected, requests = lived(None)
    assert any(record.get("state") == "failed" for record in expected)
    for number in range(1, requests + 1):
        assert lived(number)[0] == expected, number


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
def test_whatever_request_fails_a_lease_has_one_holder(faulty: type[FaultyFileSystem], lost: bool) -> None:
    def live() -> Lease:
        lease = take_lease(URL, "run", ELSEWHERE, Watch())
        assert isinstance(lease, Lease)
        held.append(lease)
        lease.renew()
        lease.check()
        taken = take_lease(URL, "run", Owner.here("job"), Watch(), lambda other: True)
        assert isinstance(taken, Lease)
        held.append(taken)
        taken.renew()
        return taken

    held: list[Lease] = []
    live().release()
    for number in range(1, len(faulty.requests) + 1):
        held.clear()
        faulty.store.clear()
        faulty.heal()
        faulty.fail_at, faulty.lost = number, lost
        with pytest.raises(StorageError):
            live().release()
        faulty.heal()
        mine = take_lease(URL, "run", Owner.here("another"), Watch(), lambda other: True)
        assert isinstance(mine, Lease)
        mine.check()
        for lease in held:
            with pytest.raises(LeaseLost):
                lease.check()


def test_what_a_library_asks_twice_because_an_answer_was_lost_is_done_once(
    faulty: type[FaultyFileSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    put = FaultyFileSystem.pipe_file

    def twice(self: FaultyFileSystem, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        put(self, path, value, mode)
        put(self, path, value, mode)

    monkeypatch.setattr(FaultyFileSystem, "pipe_file", twice)
    lease = take_lease(URL, "run", ELSEWHERE, Watch())
    assert isinstance(lease, Lease), "what is there is ours"
    journal, other = Journal(URL, "queue"), Journal(URL, "queue")
    journal.begin([])
    journal.append({"run": "a"})
    journal.sync()
    other.begin(read_journal(URL, "queue"))
    with pytest.raises(StorageError, match="took over"):
        journal.begin([{"run": "a"}])
    assert list(read_journal(URL, "queue")) == [{"run": "a"}]
