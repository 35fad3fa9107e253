"""The queue: every run goes to one lane at a time, and a dead lane costs its run nothing but time."""

import pickle
from dataclasses import replace

import pytest

from cluster.plan import JobPlan, Refused
from cluster.queue import RunQueue
from cluster.summary import read_summary, summarise, write_summary
from unictokens.config import PRESETS
from unictokens.errors import StorageError
from unictokens.learn import Learned, RunPlan
from unictokens.training.branch import Branch
from unictokens.training.session import Progress


def runs(count: int) -> tuple[RunPlan, ...]:
    return tuple(
        RunPlan(
            name=f"c{number}-x",
            concept=f"c{number}",
            config=PRESETS["demo"],
            config_hash="h",
            dataset_digest="d",
            stages=(("warmup", 2), ("deepen", 2)),
        )
        for number in range(count)
    )


def learned(plan: RunPlan, version: int | None = 1) -> Learned:
    status = "finished" if version else "stopped"
    return Learned(
        name=plan.name, concept=plan.concept, status=status, version=version, stage="deepen", epoch=2, seconds=3.0
    )


def test_each_run_goes_to_one_lane() -> None:
    queue = RunQueue(runs(3))
    taken = [queue.take(lane) for lane in ("a", "b", "a", "b")]
    assert [plan and plan.concept for plan in taken] == ["c0", "c1", "c2", None]
    assert pickle.loads(pickle.dumps(queue)).statuses() == queue.statuses()


def test_progress_is_seen_and_ends_with_the_run() -> None:
    queue = RunQueue(runs(1))
    plan = queue.take("a")
    assert plan is not None
    late = Progress(concept="c0", stage="deepen", epoch=1, epochs=2, step=1, steps=2, losses={"total": 1.0})
    queue.report(plan.name, late)
    (status,) = queue.statuses()
    assert (status.state, status.stage, status.done, status.losses) == ("running", "deepen", 0.625, {"total": 1.0})
    queue.finish(learned(plan))
    queue.report(plan.name, late)
    (status,) = queue.statuses()
    assert (status.state, status.done, status.version) == ("finished", 1.0, 1)


def test_runs_of_a_dead_lane_go_to_another_and_are_set_aside_in_the_end() -> None:
    queue = RunQueue(runs(2), max_attempts=2)
    assert queue.take("a") and queue.lane_lost("a", "killed") == ("c0",)
    again = queue.take("b")
    assert again is not None and again.concept == "c0", "the run of the dead lane comes first"
    queue.lane_lost("b", "killed")
    failed, waiting = queue.statuses()
    assert failed.state == "failed" and "2 times" in failed.error and "killed" in failed.error
    assert waiting.state == "waiting"
    queue.give_up("no lane")
    assert [status.state for status in queue.statuses()] == ["failed", "failed"]


def test_a_stopping_job_hands_out_nothing() -> None:
    queue = RunQueue(runs(2))
    plan = queue.take("a")
    assert plan is not None
    queue.stop()
    assert queue.stopping() and queue.take("b") is None
    queue.finish(learned(plan, version=None))
    assert [status.state for status in queue.statuses()] == ["stopped", "waiting"]


def test_summary_has_a_row_for_every_concept(tmp_path) -> None:
    planned = runs(3)
    queue = RunQueue(planned)
    for _ in planned[:2]:
        queue.take("a")
    queue.finish(learned(planned[0]))
    queue.fail(planned[1].name, "its loss is not finite")
    plan = JobPlan(("c9", "c0", "c1", "c2"), planned, refused=(Refused("c9", "no photos"),))
    summary = summarise(plan, queue.statuses(), 12.34)
    assert [(row.concept, row.status) for row in summary.rows] == [
        ("c9", "failed"),
        ("c0", "finished"),
        ("c1", "failed"),
        ("c2", "not started"),
    ]
    assert [row.error for row in summary.failed] == ["no photos", "its loss is not finite"]
    write_summary(summary, tmp_path)
    assert read_summary(tmp_path) == summary
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(StorageError, match=r"summary\.json"):
        read_summary(tmp_path)


def test_a_run_waits_for_the_one_it_begins_at_however_that_ends() -> None:
    parent, other = runs(2)
    child = replace(other, branch=Branch(parent.name, "", 1))
    queue = RunQueue([parent, child])
    assert queue.take("a") == parent
    assert queue.take("b") is None and queue.holding()
    queue.fail(parent.name, "its loss is not finite")
    assert queue.take("b") == child and not queue.holding()
    elsewhere = RunQueue([replace(other, branch=Branch("published-before", "", 1))])
    assert elsewhere.take("a") is not None
