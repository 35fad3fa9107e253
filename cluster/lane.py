"""A lane: one Ray Train run that loads the backbone once and trains packs of runs until none is left.

The only file that imports ray.train. A lane carries no state of its own: runs save theirs after every epoch, so a lane that
dies costs at most the epoch its runs were in.
"""

import logging
import shutil
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from cluster.engines import EngineSettings, opened
from unictokens.atomic import storage_error
from unictokens.data.catalog import Catalog
from unictokens.errors import DataError, TrainingError, UniCTokensError
from unictokens.learn import Learning, Output, RunPlan
from unictokens.memory import in_words, peak_bytes
from unictokens.tracking.base import Trackers
from unictokens.tracking.jsonl import JsonlTracker
from unictokens.tracking.mlflow_tracker import MlflowRun, MlflowTracker
from unictokens.training.engine import Engine
from unictokens.training.pack import OWN_FAULTS, Ended, train_pack
from unictokens.training.run import Run
from unictokens.training.session import Progress

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.25
WAIT_SECONDS = 0.5
"""Between two questions of a lane that has no run while other lanes are busy with those that the waiting ones follow."""
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True, kw_only=True)
class LaneSettings:
    """What a lane works with.

    width     runs that share its forward and backward passes
    cpus      CPU cores of each of its processes, also the number of computing threads
    gpus      GPUs of each of its processes, 0 or 1
    tracking  the job's MLflow run, or None
    """

    name: str
    data: Path
    engine: EngineSettings
    output: Path
    width: int
    cpus: int
    gpus: int
    tracking: MlflowRun | None

    @property
    def log_file(self) -> Path:
        """Where the worker's log goes."""
        return self.output / "logs" / f"{self.name}.log"


class LaneLost(TrainingError):
    """A lane's process died; its runs can be given to another lane."""


def run_lane(settings: LaneSettings, queue: Any) -> int:
    """Open a lane and wait until the queue (a Ray actor of `RunQueue`) has nothing more for it; returns its run count.

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
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=2),
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
class QueueSession:
    """Tells the queue where a run is, at most a few times a second, and asks it whether to stop."""

    queue: Any
    name: str
    last: float = 0.0

    def report(self, progress: Progress) -> None:
        if time.monotonic() - self.last >= REPORT_SECONDS or progress.step == progress.steps:
            self.last = time.monotonic()
            self.queue.report.remote(self.name, progress)

    def should_stop(self) -> bool:
        import ray

        return bool(ray.get(self.queue.stopping.remote()))


def _work(given: dict[str, Any]) -> int | UniCTokensError:
    """The worker: returns how many runs it had, or the error that kept it from starting."""
    settings: LaneSettings = given["settings"]
    try:
        _log_to(settings.log_file)
        torch.set_num_threads(settings.cpus)
        catalog = Catalog.open(settings.data)
        with opened(settings.engine, "cuda" if settings.gpus else "cpu") as engine:
            if engine is None:  # this process only helped another one of its lane
                return 0
            log.info("lane '%s' is ready: backbone '%s' on %s", settings.name, engine.backbone.info.name, engine.device)
            return _drain(settings, given["queue"], engine, catalog)
    except UniCTokensError as error:
        log.error("%s", error)
        return error


def _drain(settings: LaneSettings, queue: Any, engine: Engine, catalog: Catalog) -> int:
    """Train whatever the queue has for this lane; returns how many runs it had."""
    desk = _Desk(settings, queue, engine, catalog)
    for ended in train_pack(engine, desk.take, settings.width):
        desk.hand_back(ended)
    log.info("lane '%s' is done: %d runs, at most %s of memory", settings.name, desk.runs, _peak(engine.device))
    return desk.runs


class _Desk:
    """Where runs come in from the queue and, over, go back to it."""

    def __init__(self, settings: LaneSettings, queue: Any, engine: Engine, catalog: Catalog) -> None:
        self._settings = settings
        self._queue = queue
        self._engine = engine
        self._catalog = catalog
        self._open: dict[Run, Learning] = {}
        self.runs = 0

    def take(self) -> Run | None:
        """The next run of the queue that can be opened."""
        import ray

        while True:
            plan: Any = ray.get(self._queue.take.remote(self._settings.name))
            if plan is None:
                if self._open or not ray.get(self._queue.holding.remote()):
                    return None
                time.sleep(WAIT_SECONDS)
                continue
            self.runs += 1
            log.info("run '%s' begins", plan.name)
            try:
                learning = self._learning(plan)
            except OWN_FAULTS as error:
                self._fail(plan, error)
                continue
            self._open[learning.run] = learning
            return learning.run

    def hand_back(self, ended: Ended) -> None:
        """Publish and report a run that left the pack, or report its error."""
        import ray

        learning = self._open.pop(ended.run)
        if ended.error is not None:
            learning.fail()
            self._fail(learning.plan, ended.error)
            return
        try:
            learned = learning.finish()
        except OWN_FAULTS as error:
            self._fail(learning.plan, error)
            return
        log.info("run '%s' is %s", learned.name, learned.status)
        ray.get(self._queue.finish.remote(learned))

    def _learning(self, plan: RunPlan) -> Learning:
        record = self._catalog.concept(plan.concept)
        if record.digest() != plan.dataset_digest:
            raise DataError(f"the data of '{plan.concept}' changed since the job was planned: start the job again")
        output, tracking = Output(self._settings.output), self._settings.tracking
        members: list[Any] = [JsonlTracker(output.run_folder(plan.name))]
        if tracking is not None:
            tags = {"concept": plan.concept, "lane": self._settings.name}
            members.append(MlflowTracker(tracking.uri, plan.name, tracking, tags))
        return Learning(
            self._engine,
            record,
            plan,
            output,
            tracker=Trackers(tuple(members)),
            session=QueueSession(self._queue, plan.name),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _fail(self, plan: RunPlan, error: Exception) -> None:
        # The run's own fault (its data, its loss, its disk, its memory): it fails alone, the lane goes on.
        import ray

        log.error("run '%s' failed", plan.name, exc_info=error)
        ray.get(self._queue.fail.remote(plan.name, " ".join(str(error).split())[:500] or type(error).__name__))


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
