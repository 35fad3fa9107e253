"""The queue: every run goes to one lane at a time, and what goes wrong costs nothing but time.

F31 (a poisoned run in a pack) is here as far as the queue goes; F9 (a lane that hangs) is in test_heart and test_lanes.
"""

import pickle
from dataclasses import replace

import pytest
from cluster_fakes import Clock, learned, runs

from cluster.plan import JobPlan, Refused
from cluster.queue import Record, RunQueue
from cluster.run_status import Ticket
from cluster.summary import read_summary, summarise, write_summary
from unictokens.errors import StorageError
from unictokens.training.branch import Branch
from unictokens.training.session import Progress


def at(stage: str, epoch: int, step: int = 1) -> Progress:
    return Progress(concept="c", stage=stage, epoch=epoch, epochs=2, step=step, steps=2, losses={"total": 1.0})


def take(queue: RunQueue, lane: str, ask: str = "") -> Ticket | None:
    """Ask once; every ask is another one unless named."""
    take.asked += 1  # type: ignore[attr-defined]
    handed = queue.take(lane, ask or f"ask {take.asked}").handed  # type: ignore[attr-defined]
    return None if handed is None else handed.ticket


take.asked = 0  # type: ignore[attr-defined]


def got(queue: RunQueue, lane: str) -> Ticket:
    ticket = take(queue, lane)
    assert ticket is not None
    return ticket


def states(queue: RunQueue) -> list[str]:
    return [status.state for status in queue.statuses()]


def test_each_run_goes_to_one_lane() -> None:
    queue = RunQueue(runs(3))
    taken = [take(queue, lane) for lane in ("a", "b", "a", "b")]
    assert [ticket and ticket.run for ticket in taken] == ["c0-x", "c1-x", "c2-x", None]
    assert not queue.take("b", "again").more
    assert queue.counts()["running"] == 3
    assert pickle.loads(pickle.dumps(queue.statuses())) == queue.statuses()


def test_a_question_asked_twice_gets_one_run() -> None:
    queue = RunQueue(runs(2))
    assert take(queue, "a", "first") == take(queue, "a", "first") == Ticket("c0-x", "a", 1)
    assert take(queue, "b", "first") == Ticket("c1-x", "b", 1), "another lane's question is another question"


def test_progress_is_seen_and_ends_with_the_run() -> None:
    queue = RunQueue(runs(1))
    ticket = got(queue, "a")
    queue.report(ticket, at("deepen", 1))
    (status,) = queue.statuses()
    assert (status.state, status.stage, status.done, status.losses) == ("running", "deepen", 0.625, {"total": 1.0})
    queue.finish(ticket, learned(ticket))
    queue.report(ticket, at("deepen", 1))
    (status,) = queue.statuses()
    assert (status.state, status.done, status.version) == ("finished", 1.0, 1)
    assert queue.done() == 1.0


def test_late_words_are_not_heard() -> None:
    queue = RunQueue(runs(1))
    old = got(queue, "a")
    queue.lane_lost("a", "stood still")
    new = got(queue, "b")
    assert (new.run, new.attempt) == (old.run, 2) and queue.valid(new) and not queue.valid(old)
    queue.report(old, at("deepen", 2))
    queue.fail(old, "late")
    queue.finish(old, learned(old))
    queue.give_back(old)
    assert not queue.goes_on(old) and queue.goes_on(new)
    (status,) = queue.statuses()
    assert (status.state, status.lane, status.stage) == ("running", "b", "")
    queue.finish(new, learned(new))
    queue.finish(new, learned(new))
    assert states(queue) == ["finished"] and queue.counts()["finished"] == 1


def test_runs_of_a_dead_lane_come_first_and_are_set_aside_after_three_deaths() -> None:
    queue = RunQueue(runs(3))
    for lane in ("a", "b", "c"):
        assert got(queue, lane).run == "c0-x", "the run of the dead lane comes first"
        assert queue.lane_lost(lane, "killed") == ("c0-x",)
    failed, waiting, _ = queue.statuses()
    assert (
        failed.state == "failed"
        and "3 times" in failed.error
        and "killed" in failed.error
        and "logs/c.log" in failed.error
    )
    assert waiting.state == "waiting"
    queue.give_up("no lane")
    assert states(queue) == ["failed"] * 3


def test_a_saved_epoch_and_a_lost_node_are_no_strikes() -> None:
    queue = RunQueue(runs(1))
    for lane in "abcdef":
        ticket = got(queue, lane)
        assert queue.goes_on(ticket), "an epoch is saved"
        queue.lane_lost(lane, "killed")
    for lane in "ghijkl":
        got(queue, lane)
        queue.lane_lost(lane, "its node went away", strike=False)
    assert states(queue) == ["waiting"] and queue.statuses()[0].attempts == 12


def test_a_run_that_may_kill_lanes_is_tried_alone() -> None:
    queue = RunQueue(runs(3))
    for lane in ("a", "b"):
        for _ in range(3):
            got(queue, lane)
        queue.lane_lost(lane, "killed")
    alone = got(queue, "c")
    answer = queue.take("c", "more")
    assert answer.handed is None and answer.more, "its lane gets no other run beside it"
    queue.lane_lost("c", "killed")
    poisoned = [status.name for status in queue.statuses() if status.state == "failed"]
    assert poisoned == [alone.run]
    for lane in ("d", "e"):
        ticket = got(queue, lane)
        queue.finish(ticket, learned(ticket))
    assert sorted(states(queue)) == ["failed", "finished", "finished"]


def test_a_failure_is_tried_again_unless_it_lasts() -> None:
    queue = RunQueue(runs(2))
    first, second = got(queue, "a"), got(queue, "a")
    queue.fail(first, "0.png is torn", lasting=True)
    assert queue.statuses()[0].state == "failed" and "0.png is torn" in queue.statuses()[0].error
    for _ in range(2):
        queue.fail(second, "the disk is full", lasting=False)
        second = got(queue, "a")
    queue.fail(second, "the disk is full", lasting=False)
    assert states(queue) == ["failed", "failed"] and "3 times" in queue.statuses()[1].error


def test_a_run_given_back_waits_as_long_as_asked() -> None:
    clock = Clock()
    queue = RunQueue(runs(1), clock=clock)
    queue.give_back(got(queue, "a"), delay=5.0)
    answer = queue.take("b", "1")
    assert answer.handed is None and answer.more
    clock.now += 5.0
    assert got(queue, "b").attempt == 2
    assert queue.statuses()[0].strikes == 0


def test_a_stopping_job_hands_out_nothing() -> None:
    queue = RunQueue(runs(2))
    ticket = got(queue, "a")
    queue.stop()
    assert queue.stopping and take(queue, "b") is None and not queue.goes_on(ticket)
    queue.finish(ticket, learned(ticket, version=None))
    assert states(queue) == ["stopped", "waiting"] and not queue.over


def test_sweeps_add_runs_stop_single_ones_and_keep_lanes() -> None:
    first, second, third = runs(3)
    queue = RunQueue([first])
    queue.hold("sweep")
    ticket = got(queue, "a")
    assert queue.take("a", "nothing yet").more
    queue.add([first, second, third])
    queue.stop_run(second.name, "the scheduler stopped it")
    assert got(queue, "a").run == third.name
    queue.stop_run(ticket.run, "the scheduler stopped it")
    assert not queue.goes_on(ticket), "the place in the pack is free after this epoch"
    queue.finish(ticket, learned(ticket))
    assert states(queue) == ["stopped", "stopped", "running"]
    queue.release("sweep")
    assert not queue.take("a", "no more").more


def test_a_run_waits_for_the_one_it_begins_at_however_that_ends() -> None:
    parent, other = runs(2)
    child = replace(other, branch=Branch(parent.name, "", 1))
    queue = RunQueue([parent, child])
    ticket = got(queue, "a")
    answer = queue.take("b", "1")
    assert answer.handed is None and answer.more
    queue.fail(ticket, "its loss is not finite")
    assert got(queue, "b").run == child.name and not queue.pending
    elsewhere = RunQueue([replace(other, branch=Branch("published-before", "", 1))])
    assert got(elsewhere, "a")


def test_a_run_begins_as_soon_as_the_other_one_has_left_the_stage() -> None:
    parent, other = runs(2)
    queue = RunQueue([parent, replace(other, branch=Branch(parent.name, "", 1))])
    ticket = got(queue, "a")
    queue.report(ticket, at("warmup", 2))
    assert take(queue, "b") is None
    queue.report(ticket, at("deepen", 1))
    assert got(queue, "b").run == other.name and queue.valid(ticket)
    restored = RunQueue([parent, replace(other, branch=Branch(parent.name, "", 1))])
    restored.restore(queue.snapshot())
    assert states(restored) == ["running", "running"]


def test_watchers_see_each_change_once() -> None:
    queue = RunQueue(runs(3))
    version, changed = queue.changed_since(0)
    assert [status.concept for status in changed] == ["c0", "c1", "c2"]
    ticket = got(queue, "a")
    queue.report(ticket, at("warmup", 1))
    queue.report(ticket, at("warmup", 2))
    version, changed = queue.changed_since(version)
    assert [(status.concept, status.epoch) for status in changed] == [("c0", 2)]
    assert queue.changed_since(version) == (version, [])


def test_a_queue_fed_its_records_is_the_same_queue() -> None:
    records: list[Record] = []
    planned = runs(6)
    queue = RunQueue(planned, record=records.append)
    tickets = [got(queue, lane) for lane in ("a", "a", "b", "c")]
    queue.report(tickets[0], at("warmup", 1))
    queue.finish(tickets[0], learned(tickets[0]))
    queue.fail(tickets[1], "torn")
    queue.lane_lost("b", "killed")
    queue.report(tickets[3], at("deepen", 1))
    for told in (records, list(queue.snapshot())):
        again = RunQueue(planned)
        again.restore(told)
        assert again.statuses() == queue.statuses() and again.counts() == {k: v for k, v in queue.counts().items() if v}
        assert again.done() == pytest.approx(queue.done())
        assert again.valid(tickets[3]) and take(again, "d") == Ticket("c2-x", "d", 2)
        assert again.lane_lost("c", "killed") == ("c3-x",)


def test_a_new_driver_reopens_what_was_under_way_and_on_request_what_failed() -> None:
    queue = RunQueue(runs(3))
    running, failed, dropped = (got(queue, "a") for _ in range(3))
    queue.fail(failed, "torn")
    queue.stop_run(dropped.run, "the scheduler stopped it")
    queue.reopen()
    assert states(queue) == ["waiting", "failed", "stopped"] and not queue.valid(running)
    queue.finish(running, learned(running))
    assert states(queue) == ["waiting", "failed", "stopped"], "a lane of the last driver comes too late"
    queue.reopen(failed=True)
    assert states(queue) == ["waiting", "waiting", "stopped"]


def test_summary_has_a_row_for_every_concept(tmp_path) -> None:
    planned = runs(3)
    queue = RunQueue(planned)
    first, second = got(queue, "a"), got(queue, "a")
    queue.finish(first, learned(first))
    queue.fail(second, "its loss is not finite")
    plan = JobPlan(("c9", "c0", "c1", "c2"), planned, refused=(Refused("c9", "no photos"),))
    summary = summarise(plan, queue.statuses(), 12.34)
    assert [(row.concept, row.status) for row in summary.rows] == [
        ("c9", "failed"),
        ("c0", "finished"),
        ("c1", "failed"),
        ("c2", "not started"),
    ]
    assert [row.error for row in summary.failed] == ["no photos", "its loss is not finite: see logs/a.log"]
    write_summary(summary, tmp_path)
    assert read_summary(tmp_path) == summary
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(StorageError, match=r"summary\.json"):
        read_summary(tmp_path)
