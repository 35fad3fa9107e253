"""A lane: one Ray Train run that loads the backbone once and trains packs of runs until none is left.

The only file that imports ray.train. A lane carries no state of its own: runs save theirs after every epoch, so a lane that
dies costs at most the epoch its runs were in. Where a node goes away with notice, every run is saved after the step under way and
handed back at once; whoever takes it goes on with the next step.
"""

import logging
import os
import shutil
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cluster.carrier import carried
from cluster.engines import opened
from cluster.folder import JobFolder
from cluster.heart import Heart
from cluster.host import heard
from cluster.keeper import LaneSign, Orders
from cluster.lane_desk import Desk
from cluster.lane_settings import LaneSettings
from cluster.run_status import Ticket
from cluster.vitals import watched
from unictokens.atomic import storage_error
from unictokens.data.catalog import Catalog
from unictokens.errors import ClusterError, StorageError, TrainingError, UniCTokensError
from unictokens.memory import in_words, peak_bytes, resident_bytes
from unictokens.output import Output
from unictokens.tracking.node import DRAIN_SECONDS
from unictokens.tracking.spool import Spools
from unictokens.training.engine import Engine
from unictokens.training.pack import train_pack

log = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


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
    # Of this machine, where the run's controller is too: its workers put nothing there.
    storage = Output(settings.output).local / "ray"
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
        raise LaneLost(f"lane '{settings.name}' died ({reason}): see '{settings.log_place}'") from error
    shutil.rmtree(storage / name, ignore_errors=True)
    if isinstance(outcome, UniCTokensError):
        raise outcome
    return int(outcome)


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
    settings: LaneSettings = given["settings"].here()
    output = Output(settings.output)
    try:
        JobFolder(settings.output, settings.job).check_shared(settings.word)
        _log_to(settings.log_file)
        torch.set_num_threads(settings.cpus)
        heart = _heart(settings, given["queue"])
        catalog = Catalog.open(settings.data)
        with opened(settings.engine, "cuda" if settings.gpus else "cpu") as engine:
            if engine is None:  # this process only helped another one of its lane
                return 0
            return work_off(settings, given["queue"], engine, catalog, heart)
    except UniCTokensError as error:
        log.error("%s", error)
        return error
    finally:
        output.forget_local()


def work_off(settings: LaneSettings, queue: Any, engine: Engine, catalog: Catalog, heart: Heart) -> int:
    """Train whatever the queue has for this lane, with an entry of its own; returns how many runs it had."""
    log.info("lane '%s' is ready: backbone '%s' on %s", settings.name, engine.backbone.info.name, engine.device)
    own = settings.tracking.tracker(settings.name, {"kind": "lane", "host": socket.gethostname()})
    root, entry = settings.tracking.root, Spools(settings.tracking.root).entry(settings.name)
    beside = [path.relative_to(root).as_posix() for path in (settings.log_file, entry)]
    with carried(Output(settings.output), beside), settings.tracking.uploading() as uploading:
        with watched(own):
            runs = _drain(settings, queue, engine, catalog, heart)
        if not isinstance(settings.output, Path):
            # What waits on this machine goes with this process.
            left = uploading.drain(DRAIN_SECONDS, {})
            if left.events:
                log.warning("%d events of %d runs were not sent (%s)", left.events, left.runs, left.reason)
    return runs


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
    desk = Desk(settings, queue, engine, catalog, heart)
    for ended in train_pack(engine, desk.take, settings.width):
        desk.hand_back(ended)
    heart.stop()
    heard(queue.lane_ended.remote(settings.name))
    log.info("lane '%s' is done: %d runs, at most %s of memory", settings.name, desk.runs, _peak(engine.device))
    return desk.runs


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
