"""The keeper of a job's queue: every change is in the journal before anybody hears of it.

In a bucket, where writing costs a request, where a run is between its beginning and its end is written a second later at most; a
keeper that dies meanwhile hears it again from the run's next report.

The one actor of a job. Ray starts it again when it dies (it reads its journal and goes on), and repeats calls whose answer was
lost, which the queue permits. Knows no Ray itself.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.folder import QUEUE, JobFolder
from cluster.journal import Journal, Record
from cluster.journal_tail import patiently
from cluster.plan import JobPlan
from cluster.plan_file import decode_runs, encode_runs
from cluster.queue import RunQueue
from cluster.run_status import Answer, RunStateName, RunStatus, Ticket
from unictokens.learn import Learned, RunPlan
from unictokens.training.session import Progress

LATER_SECONDS = 1.0
"""Where writing costs a request: how long what a run reports on its way may wait for something that is written at once."""


@dataclass(frozen=True, kw_only=True)
class LaneSign:
    """A lane's sign of life.

    idle     seconds since its training last moved
    tickets  of the runs it has
    memory   bytes of the process; `device_memory` of its GPU, 0 without
    """

    lane: str
    node: str
    host: str
    process: int
    idle: float = 0.0
    tickets: tuple[Ticket, ...] = ()
    memory: int = 0
    device_memory: int = 0


@dataclass(frozen=True)
class Orders:
    """What a lane hears in return: runs that are no longer its own; in how many seconds its node goes away, if it does."""

    lost: tuple[str, ...] = ()
    leave_in: float | None = None


@dataclass(frozen=True, kw_only=True)
class Bulletin:
    """What a driver hears.

    version  of the queue; `changed` are the runs that changed since the version it named
    lanes    name to (last sign, seconds since the training of that lane last moved)
    """

    version: int
    changed: tuple[RunStatus, ...]
    counts: Mapping[RunStateName, int]
    done: float
    pending: bool
    lanes: Mapping[str, tuple[LaneSign, float]] = field(default_factory=dict)


class Keeper:
    """The queue of one job with its journal. Calls of lanes and of the driver; all may be repeated."""

    def __init__(self, folder: JobFolder, clock: Callable[[], float] = time.monotonic) -> None:
        """Goes on where the journal ends. Raises StorageError."""
        self._clock = clock
        self._folder = folder
        self._added: list[RunPlan] = []
        self._journal = Journal(folder.place, QUEUE, clock)
        plan = patiently(folder.plan, folder.patience)
        records = patiently(folder.records, folder.patience)
        self._queue = RunQueue(plan.runs, record=self._record, clock=clock)
        self._load(records)
        self._signs: dict[str, tuple[LaneSign, float]] = {}
        self._handles: dict[str, Any] = {}
        self._leaving: dict[str, float] = {}
        self._journal.begin(self._snapshot())

    # Lanes.

    def take(self, lane: str, ask: str) -> Answer:
        answer = self._queue.take(lane, ask)
        if answer.handed is not None:
            self._journal.sync()
        return answer

    def report(self, ticket: Ticket, progress: Progress) -> None:
        self._queue.report(ticket, progress)

    def goes_on(self, ticket: Ticket) -> bool:
        return self._queue.goes_on(ticket)

    def finish(self, ticket: Ticket, learned: Learned) -> None:
        self._queue.finish(ticket, learned)
        self._journal.sync()

    def fail(self, ticket: Ticket, error: str, lasting: bool) -> None:
        self._queue.fail(ticket, error, lasting)
        self._journal.sync()

    def give_back(self, ticket: Ticket, delay: float = 0.0) -> None:
        self._queue.give_back(ticket, delay)
        self._journal.sync()

    def beat(self, sign: LaneSign, handle: Any = None) -> Orders:
        """A lane lives; `handle` is what its driver can end it with."""
        self._signs[sign.lane] = (sign, self._clock() - sign.idle)
        self._handles[sign.lane] = handle
        lost = tuple(ticket.run for ticket in sign.tickets if not self._queue.valid(ticket))
        until = self._leaving.get(sign.node)
        return Orders(lost, None if until is None else max(0.0, until - self._clock()))

    def lane_ended(self, lane: str) -> None:
        """A lane said goodbye: whatever it should still hold waits again."""
        self._forget(lane)
        self._queue.lane_lost(lane, "it ended", strike=False)
        self._journal.sync()

    # The driver.

    def bulletin(self, version: int, leaving: Mapping[str, float]) -> Bulletin:
        """What changed since `version`.

        leaving  nodes that go away, and in how many seconds
        Raises StorageError when another driver took the job over.
        """
        self._journal.sync(older=LATER_SECONDS)
        self._journal.check()
        self._leaving = {node: self._clock() + seconds for node, seconds in leaving.items()}
        now, changed = self._queue.changed_since(version)
        lanes = {lane: (sign, round(self._clock() - moved, 3)) for lane, (sign, moved) in self._signs.items()}
        return Bulletin(
            version=now,
            changed=tuple(changed),
            counts=self._queue.counts(),
            done=self._queue.done(),
            pending=self._queue.pending,
            lanes=lanes,
        )

    def handle(self, lane: str) -> Any:
        """What a lane can be ended with, None when it never gave a sign."""
        return self._handles.get(lane)

    def lane_lost(self, lane: str, reason: str, strike: bool = True) -> tuple[str, ...]:
        self._forget(lane)
        lost = self._queue.lane_lost(lane, reason, strike)
        self._journal.sync()
        return lost

    def stop(self) -> None:
        if not self._queue.stopping:
            self._record({"stop": True})
            self._queue.stop()
            self._journal.sync()

    def give_up(self, reason: str) -> None:
        self._queue.give_up(reason)
        self._journal.sync()

    def statuses(self) -> tuple[RunStatus, ...]:
        self._journal.sync()
        return self._queue.statuses()

    # Sweeps.

    def add(self, runs: Sequence[RunPlan]) -> None:
        """More runs for a job under way; known ones are left alone."""
        new = [run for run in runs if not self._queue.knows(run.name)]
        if new:
            self._record({"add": encode_runs(new)})
            self._added += new
            self._queue.add(new)
            self._journal.sync()

    def stop_run(self, name: str, reason: str) -> None:
        self._queue.stop_run(name, reason)
        self._journal.sync()

    def hold(self, key: str) -> None:
        self._record({"hold": key})
        self._queue.hold(key)
        self._journal.sync()

    def release(self, key: str) -> None:
        self._record({"release": key})
        self._queue.release(key)
        self._journal.sync()

    # Inside.

    def _forget(self, lane: str) -> None:
        self._signs.pop(lane, None)
        self._handles.pop(lane, None)

    def _record(self, record: Record) -> None:
        self._journal.append(record)
        if self._journal.long:
            # The change that is being recorded is not in the queue yet, hence not in the snapshot: it comes behind it.
            self._journal.begin([*self._snapshot(), record])

    def _snapshot(self) -> list[Record]:
        added = [{"add": encode_runs(self._added)}] if self._added else []
        stopping = [{"stop": True}] if self._queue.stopping else []
        return [*added, *stopping, *({"hold": key} for key in self._queue.held_open), *self._queue.snapshot()]

    def _load(self, records: Sequence[Record]) -> None:
        for record in records:
            if "add" in record:
                self._added += decode_runs(record["add"])
            elif "stop" in record:
                self._queue.stop()
            elif "hold" in record:
                self._queue.hold(record["hold"])
            elif "release" in record:
                self._queue.release(record["release"])
        self._queue.add(self._added)
        self._queue.restore(records)


def prepare(folder: JobFolder, plan: JobPlan | None) -> tuple[JobPlan, bool]:
    """Make the folder ready for a new driver's keeper; returns the plan that counts and whether anything is left to do.

    plan  of a new command; None continues what is there
    An unfinished job of the same name goes on as it was planned; one that was over begins anew with what `plan` still wants
    or, without a plan, with what had failed. Only the holder of the driver's lease may call this. Raises StorageError.
    """
    journal = Journal(folder.place, QUEUE)
    if folder.begun:
        before = folder.plan()
        queue = RunQueue(before.runs)
        records = folder.records()
        added = [run for record in records if "add" in record for run in decode_runs(record["add"])]
        queue.add(added)
        queue.restore(records)
        if plan is None or not queue.over:
            queue.reopen(failed=queue.over)
            journal.begin([*([{"add": encode_runs(added)}] if added else []), *queue.snapshot()])
            journal.close()
            return before, not queue.over
    assert plan is not None, "a job that was never begun needs a plan"
    folder.write_plan(plan)
    journal.begin([])
    journal.close()
    return plan, bool(plan.runs)
