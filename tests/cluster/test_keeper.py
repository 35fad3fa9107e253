"""The keeper: whatever it answered is in the journal first, so that its death, or its driver's, changes nothing.

F5 and F6 (queue actor, driver) below Ray; with Ray they are in tests/chaos.
"""

from pathlib import Path

import pytest
from cluster_fakes import Clock, learned, runs

from cluster.folder import JobFolder
from cluster.keeper import Keeper, LaneSign, prepare
from cluster.plan import JobPlan, Refused, Skipped
from cluster.plan_file import decode_plan, encode_plan
from unictokens.errors import ConfigError, StorageError
from unictokens.training.session import Progress

PLAN = JobPlan(("c0", "c1", "c2"), runs(3))


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """The folder of a job that is ready to begin."""
    folder = JobFolder(tmp_path, "job-1")
    prepare(folder, PLAN)
    return folder


def sign(lane: str, **more: object) -> LaneSign:
    return LaneSign(lane=lane, node="n1", host="h", process=1, **more)  # type: ignore[arg-type]


def test_a_plan_on_disk_is_the_plan() -> None:
    first, second, third = PLAN.runs
    plan = JobPlan(("c0", "c1", "c2", "c9"), (first, second), (Skipped(third, 4),), (Refused("c9", "no photos"),))
    again = decode_plan(encode_plan(plan), "plan.json")
    assert again == plan and again.name == plan.name
    with pytest.raises(StorageError, match=r"plan\.json"):
        decode_plan(b"{}", "plan.json")


def test_a_killed_keeper_goes_on_where_it_stood(folder: JobFolder) -> None:
    first = Keeper(folder)
    done = first.take("a", "1").handed
    running = first.take("a", "2").handed
    assert done is not None and running is not None
    first.finish(done.ticket, learned(done.ticket))
    first.add(runs(4))
    first.stop_run("c3-x", "the scheduler stopped it")
    first.hold("sweep")
    del first  # killed: nothing was closed
    again = Keeper(folder)
    assert again.take("a", "2").handed == running, "the answer may have been lost on its way"
    assert [status.state for status in again.statuses()] == ["finished", "running", "waiting", "stopped"]
    assert again.bulletin(0, {}).pending
    again.stop()
    third = Keeper(folder)
    assert third.take("b", "3").handed is None, "a stopping job stays stopped"


def test_a_keeper_of_a_dead_driver_is_replaced(folder: JobFolder) -> None:
    old = Keeper(folder)
    handed = old.take("a", "1").handed
    assert handed is not None
    plan, left = prepare(folder, None)
    assert plan == PLAN and left
    new = Keeper(folder)
    with pytest.raises(StorageError, match="took over"):
        old.bulletin(0, {})
    old.finish(handed.ticket, learned(handed.ticket))
    assert [status.state for status in Keeper(folder).statuses()] == ["waiting"] * 3
    again = new.take("b", "1").handed
    assert again is not None and again.ticket.attempt == 2, "numbers of attempts are not given twice"


def test_a_job_that_was_over_begins_anew_with_what_had_failed(folder: JobFolder) -> None:
    keeper = Keeper(folder)
    for number in range(3):
        handed = keeper.take("a", str(number)).handed
        assert handed is not None
        if number == 1:
            keeper.fail(handed.ticket, "torn", lasting=True)
        else:
            keeper.finish(handed.ticket, learned(handed.ticket))
    assert prepare(folder, None)[1], "what had failed is tried again"
    assert [status.state for status in Keeper(folder).statuses()] == ["finished", "waiting", "finished"]
    handed = (again := Keeper(folder)).take("a", "4").handed
    assert handed is not None
    again.finish(handed.ticket, learned(handed.ticket))
    assert not prepare(folder, None)[1], "nothing is left"
    rest = JobPlan(PLAN.concepts, PLAN.runs[:1])
    assert prepare(folder, rest) == (rest, True)
    assert [status.state for status in Keeper(folder).statuses()] == ["waiting"]


def test_lanes_hear_what_they_lost_and_when_their_node_goes(folder: JobFolder) -> None:
    clock = Clock()
    keeper = Keeper(folder, clock)
    handed = keeper.take("a", "1").handed
    assert handed is not None
    assert keeper.beat(sign("a", tickets=(handed.ticket,), idle=7.0)).lost == ()
    bulletin = keeper.bulletin(0, {"n1": 30.0})
    clock.now += 10.0
    assert keeper.bulletin(bulletin.version, {"n1": 20.0}).lanes["a"][1] == 17.0
    orders = keeper.beat(sign("a", tickets=(handed.ticket,)))
    assert orders.leave_in == 20.0
    keeper.lane_lost("a", "stood still")
    assert keeper.beat(sign("a", tickets=(handed.ticket,))).lost == (handed.ticket.run,)


def test_progress_within_an_epoch_is_not_written(folder: JobFolder) -> None:
    keeper = Keeper(folder)
    handed = keeper.take("a", "1").handed
    assert handed is not None
    before = len(folder.records())
    for step in range(1, 100):
        keeper.report(handed.ticket, Progress(concept="c0", stage="warmup", epoch=1, epochs=2, step=step, steps=100))
    assert len(folder.records()) == before + 1


def test_a_host_that_sees_another_folder_is_named(folder: JobFolder, tmp_path: Path) -> None:
    word = folder.share_word()
    folder.check_shared(word)
    with pytest.raises(StorageError, match="not the same on"):
        JobFolder(tmp_path / "elsewhere", "job-1").check_shared(word)
    with pytest.raises(StorageError, match="all nodes share"):
        folder.check_shared("old")


def test_an_unknown_job_is_refused_with_those_there_are(folder: JobFolder) -> None:
    with pytest.raises(ConfigError, match="job-1"):
        JobFolder(folder.output, "job-2").asked()
