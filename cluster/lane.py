"""A lane: one Ray Train run that loads the backbone once and trains packs of runs until none is left.

The only file that imports ray.train. A lane carries no state of its own: runs save theirs after every epoch, so a lane that
dies costs at most the epoch its runs were in. Where a node goes away with notice, a lane ends its runs after their epoch or, when
there is no time for that, where they stand, and hands them back at once: state within an epoch is not saved.
"""

import logging
import os
import shutil
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch

from cluster.engines import EngineSettings, opened
from cluster.folder import JobFolder
from cluster.heart import Heart
from cluster.host import heard
from cluster.keeper import LaneSign, Orders
from cluster.lease import Lease, Owner, Watch, take_lease
from cluster.queue import Answer, Handed, Ticket
from cluster.vitals import watched
from unictokens.atomic import storage_error
from unictokens.data.catalog import Catalog
from unictokens.errors import (
    ClusterError,
    ConceptError,
    ConfigError,
    DataError,
    StorageError,
    TrainingError,
    UniCTokensError,
)
from unictokens.learn import Learned, Learning, Output, RunPlan, published_version
from unictokens.memory import in_words, peak_bytes, resident_bytes
from unictokens.tracking.base import Tracker, Unregistered
from unictokens.tracking.tracked import Tracked
from unictokens.training.engine import Engine
from unictokens.training.pack import OWN_FAULTS, Ended, train_pack
from unictokens.training.run import Run
from unictokens.training.session import Progress, Withdrawn

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.25
WAIT_SECONDS = 0.5
"""Between two questions of a lane that has no run while there may be one for it later."""
ASK_SECONDS = 2.0
"""Between two questions of a lane that has runs, and room for more than there are."""
BUSY_SECONDS = 5.0
"""Until a run that another job is training is looked at again."""
ANSWER_SECONDS = 20.0
LASTING = (DataError, ConfigError, ConceptError)
"""What no other attempt can mend."""
RUN_LEASE = "lane"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Afterwards(Protocol):
    """Something that is done with a published run where its backbone is loaded, such as an examination."""

    def __call__(self, engine: Engine, plan: RunPlan) -> None:
        """May be called twice. Raises what the run is to fail with."""
        ...


@dataclass(frozen=True, kw_only=True)
class LaneSettings:
    """What a lane works with.

    name      its own, never that of another lane
    job       the job it works for; `word` is what it must find in the job's folder
    width     runs that share its forward and backward passes
    cpus      CPU cores of each of its processes, also the number of computing threads
    gpus      GPUs of each of its processes, 0 or 1
    stall     seconds of standing still after which it ends itself
    tracking  where the job's entry is, for those nested in it
    registered  whether what is published gets into the tracking server's registry of models
    afterwards  what it does for a run when it is published, before it says so
    """

    name: str
    job: str
    word: str
    data: Path
    engine: EngineSettings
    output: Path
    width: int
    cpus: int
    gpus: int
    stall: float
    tracking: Tracked
    registered: bool = True
    afterwards: Afterwards | None = None

    @property
    def log_file(self) -> Path:
        """Where the worker's log goes."""
        return self.output / "logs" / f"{self.name}.log"


class LaneLost(TrainingError):
    """A lane's process died; its runs can be given to another lane."""


def run_lane(settings: LaneSettings, queue: Any) -> int:
    """Open a lane and wait until the queue (a Ray actor of `Keeper`) has nothing more for it; returns its run count.

    Raises LaneLost when the worker died, and what made the worker refuse to start (a backbone that does not load).
    """
    import ray.train
    from ray.exceptions import RayError
    from ray.train.torch import TorchTrainer

    # Ray keeps no state of ours, so a fresh name each time: the folder of an earlier attempt may be damaged.
    name = f"{settings.name}-{uuid.uuid4().hex[:8]}"
    storage = settings.output / "ray"
    trainer = TorchTrainer(
        _work,
        train_loop_config={"settings": settings, "queue": queue},
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.engine.processes,
            use_gpu=settings.gpus > 0,
            resources_per_worker={"CPU": settings.cpus, **({"GPU": settings.gpus} if settings.gpus else {})},
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(storage.absolute()),
            failure_config=ray.train.FailureConfig(
                max_failures=0, max_preemption_failures=0, controller_failure_limit=0
            ),
        ),
    )
    try:
        outcome: Any = trainer.fit().return_value
    except (ray.train.TrainingFailedError, RayError) as error:
        reason = " ".join(str(error).split())[:300]
        raise LaneLost(f"lane '{settings.name}' died ({reason}): see '{settings.log_file}'") from error
    shutil.rmtree(storage / name, ignore_errors=True)
    if isinstance(outcome, UniCTokensError):
        raise outcome
    return int(outcome)


@dataclass
class RunSession:
    """One run's line to the queue: says where it is, at most a few times a second, and asks whether to stop."""

    queue: Any
    ticket: Ticket
    heart: Heart
    last: float = 0.0

    def report(self, progress: Progress) -> None:
        self.heart.moved()
        if progress.step == progress.steps:
            # What comes next is written for others to see. A node that goes away is no reason to throw an epoch away now.
            self.heart.confirm(self.ticket)
        else:
            self.heart.check(self.ticket)
        if time.monotonic() - self.last >= REPORT_SECONDS or progress.step == progress.steps:
            self.last = time.monotonic()
            self.queue.report.remote(self.ticket, progress)

    def should_stop(self) -> bool:
        return not heard(self.queue.goes_on.remote(self.ticket)) or self.heart.leaving


@dataclass(frozen=True)
class QueueEar:
    """The queue, as a lane's heart knows it. `handle` is what the lane can be ended with."""

    queue: Any
    handle: Any

    def beat(self, sign: LaneSign) -> Orders | None:
        try:
            return heard(self.queue.beat.remote(sign, self.handle), timeout=ANSWER_SECONDS)
        except TimeoutError:  # it is being started again
            return None
        except (ClusterError, StorageError) as error:  # no driver any more, or another one with another queue
            raise ConnectionError(str(error)) from error


def _work(given: dict[str, Any]) -> int | UniCTokensError:
    """The worker: returns how many runs it had, or the error that kept it from starting."""
    settings: LaneSettings = given["settings"]
    try:
        JobFolder(settings.output, settings.job).check_shared(settings.word)
        _log_to(settings.log_file)
        torch.set_num_threads(settings.cpus)
        heart = _heart(settings, given["queue"])
        catalog = Catalog.open(settings.data)
        with opened(settings.engine, "cuda" if settings.gpus else "cpu") as engine:
            if engine is None:  # this process only helped another one of its lane
                return 0
            log.info("lane '%s' is ready: backbone '%s' on %s", settings.name, engine.backbone.info.name, engine.device)
            own = settings.tracking.tracker(settings.name, {"kind": "lane", "host": socket.gethostname()})
            with settings.tracking.uploading(), watched(own):
                return _drain(settings, given["queue"], engine, catalog, heart)
    except UniCTokensError as error:
        log.error("%s", error)
        return error


def _heart(settings: LaneSettings, queue: Any) -> Heart:
    """The heart of a lane's first process; it beats already. Its helpers have one too, which nobody hears."""
    import ray
    import ray.train

    context = ray.get_runtime_context()
    node, host = context.get_node_id(), socket.gethostname()

    def sign(idle: float, tickets: tuple[Ticket, ...]) -> LaneSign:
        return LaneSign(
            lane=settings.name,
            node=node,
            host=host,
            process=os.getpid(),
            idle=idle,
            tickets=tickets,
            memory=resident_bytes() or 0,
            device_memory=torch.cuda.memory_reserved() if settings.gpus else 0,
        )

    heart = Heart(QueueEar(queue, context.current_actor), sign, settings.stall)
    if ray.train.get_context().get_world_rank() == 0:
        heart.start()
    return heart


def _drain(settings: LaneSettings, queue: Any, engine: Engine, catalog: Catalog, heart: Heart) -> int:
    """Train whatever the queue has for this lane; returns how many runs it had."""
    desk = _Desk(settings, queue, engine, catalog, heart)
    for ended in train_pack(engine, desk.take, settings.width):
        desk.hand_back(ended)
    heart.stop()
    heard(queue.lane_ended.remote(settings.name))
    log.info("lane '%s' is done: %d runs, at most %s of memory", settings.name, desk.runs, _peak(engine.device))
    return desk.runs


class _Desk:
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
            folder = output.run_folder(plan.name)
            lease = take_lease(folder, RUN_LEASE, me, self._watch, lambda other: _successor(me, other))
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
        return Learning(
            self._engine,
            record,
            plan,
            Output(self._settings.output),
            tracker=self._tracker(plan),
            session=RunSession(self._queue, ticket, self._heart),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _tracker(self, plan: RunPlan) -> Tracker:
        tags = {"kind": "concept", "concept": plan.concept, "lane": self._settings.name}
        folder = Output(self._settings.output).run_folder(plan.name)
        tracker = self._settings.tracking.tracker(plan.name, tags, folder)
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


def _peak(device: torch.device) -> str:
    host = peak_bytes()
    words = "unknown" if host is None else in_words(host)
    if device.type == "cuda":
        words += f" here and {in_words(torch.cuda.max_memory_reserved(device))} on the GPU"
    return words


def _log_to(path: Path) -> None:
    """Send this process's log to a file of its own: the terminal belongs to the job's progress."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise storage_error(error, path) from error
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    for name in ("unictokens", "cluster"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
