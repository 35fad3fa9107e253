"""A lane's desk: where runs come in from the queue, are opened and, over, go back to it. Knows the queue's actor, nothing else of Ray."""

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.heart import Heart
from cluster.host import heard
from cluster.lane_settings import LaneSettings
from cluster.lease import Lease, Owner, Watch, take_lease
from cluster.run_status import Answer, Handed, Ticket
from unictokens.data.catalog import Catalog
from unictokens.errors import ConceptError, ConfigError, DataError
from unictokens.learn import Learned, Learning, Output, RunPlan, published_version
from unictokens.storage.workspace import LocalWorkspace, Workspace
from unictokens.tracking.base import Tracker, Unregistered
from unictokens.training.engine import Engine
from unictokens.training.pack import OWN_FAULTS, Ended
from unictokens.training.run import Run
from unictokens.training.session import Progress, Withdrawn

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
"""Between two words of a run within an epoch: with four a second, 64 lanes of eight keep their one queue busy with nothing else."""
WAIT_SECONDS = 0.5
"""Between two questions of a lane that has no run while there may be one for it later."""
ASK_SECONDS = 2.0
"""Between two questions of a lane that has runs, and room for more than there are."""
BUSY_SECONDS = 5.0
"""Until a run that another job is training is looked at again."""
LASTING = (DataError, ConfigError, ConceptError)
"""What no other attempt can mend."""
RUN_LEASE = "lane"


@dataclass
class RunSession:
    """One run's line to the queue: says where it is, about once a second, and asks whether to leave or to stop."""

    queue: Any
    ticket: Ticket
    heart: Heart
    last: float = 0.0

    def report(self, progress: Progress) -> None:
        self.heart.moved()
        if progress.step == progress.steps:
            self.heart.confirm(self.ticket)  # what comes next is written for others to see
        else:
            self.heart.check(self.ticket)
        if time.monotonic() - self.last >= REPORT_SECONDS or progress.step == progress.steps:
            self.last = time.monotonic()
            self.queue.report.remote(self.ticket, progress)

    def should_leave(self) -> bool:
        if not self.heart.leaving:
            return False
        self.heart.confirm(self.ticket)  # as above
        return True

    def should_stop(self) -> bool:
        return not heard(self.queue.goes_on.remote(self.ticket)) or self.heart.leaving


@dataclass(frozen=True)
class Guarded:
    """A run's workspace that is not pushed any more when the run is somebody else's by now.

    confirm  raises Withdrawn then
    """

    kept: Workspace
    confirm: Callable[[], None]

    @property
    def folder(self) -> Path:
        return self.kept.folder

    def push(self) -> None:
        # On a disk the last question was asked before the state was saved, a moment ago. To a bucket the way is longer.
        if not isinstance(self.kept, LocalWorkspace):
            self.confirm()
        self.kept.push()

    def drop(self) -> None:
        self.kept.drop()


class Desk:
    """Where runs come in from the queue and, over, go back to it."""

    def __init__(self, settings: LaneSettings, queue: Any, engine: Engine, catalog: Catalog, heart: Heart) -> None:
        self._settings = settings
        self._queue = queue
        self._engine = engine
        self._catalog = catalog
        self._heart = heart
        self._watch = Watch()
        self._open: dict[Run, tuple[Learning, Ticket]] = {}
        self._ask_again = 0.0
        self.runs = 0

    def take(self) -> Run | None:
        """The next run of the queue that can be opened."""
        if self._open and time.monotonic() < self._ask_again:
            return None
        while not self._heart.leaving:
            self._heart.moved()
            answer: Answer = heard(self._queue.take.remote(self._settings.name, uuid.uuid4().hex))
            if answer.handed is not None:
                run = self._accept(answer.handed)
                if run is not None:
                    return run
            elif self._open or not answer.more:
                self._ask_again = time.monotonic() + ASK_SECONDS
                return None
            else:
                time.sleep(WAIT_SECONDS)
        return None

    def hand_back(self, ended: Ended) -> None:
        """Publish and report a run that left the pack, report its error, or give it to whoever comes next."""
        learning, ticket = self._open.pop(ended.run)
        self._heart.moved()
        if isinstance(ended.error, Withdrawn):
            self._withdraw(learning, ticket, ended.error)
            return
        if ended.error is not None:
            learning.fail()
            self._fail(ticket, ended.error)
            return
        try:
            learned = learning.finish(lambda: self._heart.confirm(ticket))
            if learned.version is not None:
                self._after(learning.plan)
        except Withdrawn as error:
            self._withdraw(learning, ticket, error)
            return
        except OWN_FAULTS as error:
            self._fail(ticket, error)
            return
        self._heart.drop(ticket)
        if learned.status == "stopped" and self._heart.leaving:
            self._tell(self._queue.give_back, ticket)
        else:
            self._tell(self._queue.finish, ticket, learned)
        log.info("run '%s' is %s", learned.name, learned.status)

    def _accept(self, handed: Handed) -> Run | None:
        """Open a run; None when it is published already, another job is at it, or it cannot be opened."""
        settings, ticket, plan = self._settings, handed.ticket, handed.plan
        output = Output(settings.output)
        me = Owner.here(settings.job, settings.name, ticket.attempt)
        try:
            lease = take_lease(
                output.run_place(plan.name), RUN_LEASE, me, self._watch, lambda other: _successor(me, other)
            )
            if not isinstance(lease, Lease):
                log.info("run '%s' is being trained by %s: later", plan.name, lease)
                self._tell(self._queue.give_back, ticket, BUSY_SECONDS)
                return None
            self._heart.carry(ticket, lease)
            version = published_version(output, plan, self._engine.backbone.info.fingerprint)
            if version is not None:
                self._after(plan)
                self._heart.drop(ticket)
                self._tell(self._queue.finish, ticket, _published(plan, version))
                log.info("run '%s' is published already", plan.name)
                return None
            self.runs += 1
            log.info("run '%s' begins, attempt %d", plan.name, ticket.attempt)
            learning = self._learning(plan, ticket)
        except OWN_FAULTS as error:
            self._fail(ticket, error)
            return None
        self._open[learning.run] = (learning, ticket)
        return learning.run

    def _learning(self, plan: RunPlan, ticket: Ticket) -> Learning:
        record = self._catalog.concept(plan.concept)
        if record.digest() != plan.dataset_digest:
            raise DataError(f"the data of '{plan.concept}' changed since the job was planned: start the job again")
        output = Output(self._settings.output)
        workspace = Guarded(output.open_run(plan.name), lambda: self._heart.confirm(ticket))
        return Learning(
            self._engine,
            record,
            plan,
            output,
            workspace=workspace,
            tracker=self._tracker(plan, workspace.folder),
            session=RunSession(self._queue, ticket, self._heart),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _tracker(self, plan: RunPlan, folder: Path) -> Tracker:
        tags = {"kind": "concept", "concept": plan.concept, "lane": self._settings.name}
        local, tracking = isinstance(self._settings.output, Path), self._settings.tracking
        tracker = (tracking.tracker if local else tracking.passing)(plan.name, tags, folder)
        return tracker if self._settings.registered else Unregistered(tracker)

    def _after(self, plan: RunPlan) -> None:
        if self._settings.afterwards is not None:
            self._settings.afterwards(self._engine, plan)
            self._heart.moved()

    def _withdraw(self, learning: Learning, ticket: Ticket, reason: Exception) -> None:
        log.warning("%s", reason)
        learning.leave()
        self._heart.drop(ticket)
        self._tell(self._queue.give_back, ticket)

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        # The run's own fault (its data, its loss, its disk, its memory): it fails alone, the lane goes on.
        log.error("run '%s' failed", ticket.run, exc_info=error)
        self._heart.drop(ticket)
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        self._tell(self._queue.fail, ticket, reason, isinstance(error, LASTING))

    def _tell(self, call: Any, *words: Any) -> None:
        heard(call.remote(*words))


def _successor(me: Owner, other: Owner) -> bool:
    """Whether the queue of my job gave me a run after it had given it to the other."""
    return (
        (me.job, other.job) != ("", "")
        and me.job == other.job
        and me.attempt >= other.attempt
        and me.lane != other.lane
    )


def _published(plan: RunPlan, version: int) -> Learned:
    return Learned(name=plan.name, concept=plan.concept, status="finished", version=version, stage="", epoch=0)
