"""The driver of a job: starts Ray, opens lanes, shows how it goes, gives the runs of a dead lane to a new one."""

import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.engines import EngineSettings
from cluster.lane import LaneLost, LaneSettings, run_lane
from cluster.plan import JobPlan
from cluster.queue import RunQueue, RunStatus
from cluster.summary import Summary, summarise, write_summary
from unictokens.errors import ConfigError, DependencyError, StorageError, UniCTokensError
from unictokens.tracking.mlflow_tracker import MlflowRun, open_run

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
MAX_LANE_LOSSES = 5
CPU_LANES = 4
"""Most lanes that are opened unasked on a machine without a GPU: each is a few processes and a gigabyte."""
WIDTH = 8
"""Runs that a lane trains together unless told otherwise."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Nothing large passes through Ray: weights come from files, learned rows go to files."""

RAY_ENVIRONMENT = {
    # Ray's own defaults poll every 2 s, chdir workers away from relative paths, and phone home.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "600",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUTF8": "1",
    # The lanes are what this machine is for; by default Ray runs them at the lowest priority but four.
    "RAY_worker_niceness": "0",
    # Waiting threads sleep: spinning ones make a busy machine ten times slower, and gain little on an idle one.
    "OMP_WAIT_POLICY": "PASSIVE",
}

Watcher = Callable[[Sequence[RunStatus]], None]
"""Is told the state of all runs a few times a second."""


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Where and on what a job runs. `lanes` 0 means one per GPU or, on a machine without, one per core, at most four.

    width   runs that a lane trains together, at most
    parent  the MLflow run that the job's own is nested in, if any
    """

    data: Path
    output: Path
    engine: EngineSettings
    lanes: int = 0
    width: int = WIDTH
    tracking_uri: str | None = None
    parent: MlflowRun | None = None


def run_job(plan: JobPlan, settings: JobSettings, watch: Watcher) -> Summary:
    """Do what `plan` says and write `summary.json`; one concept's failure does not stop the others.

    Without runs to train Ray is not started. On KeyboardInterrupt running runs end after their epoch; a second one ends
    everything at once (what is saved stays).
    Raises ConfigError for impossible lanes, StorageError for a tracking address or folder that does not answer,
    CheckpointError for a backbone that does not load.
    """
    started = time.monotonic()
    tracking = _open_tracking(plan, settings)
    statuses: Sequence[RunStatus] = ()
    status = "failed"
    try:
        if plan.runs:
            statuses = _train(plan, settings, tracking, watch)
        summary = summarise(plan, statuses, time.monotonic() - started)
        path = write_summary(summary, settings.output)
        if tracking is not None:
            _track_summary(tracking, summary, path)
        status = "finished" if not summary.unfinished else "stopped" if not summary.failed else "failed"
        return summary
    finally:
        if tracking is not None:
            _tell(lambda: tracking.close(status))  # type: ignore[arg-type]


def _train(plan: JobPlan, settings: JobSettings, tracking: MlflowRun | None, watch: Watcher) -> Sequence[RunStatus]:
    with ray_session() as ray:
        lanes = _lanes(plan, settings, tracking, ray.cluster_resources())
        queue = ray.remote(num_cpus=0)(RunQueue).remote(plan.runs)
        with ThreadPoolExecutor(len(lanes), thread_name_prefix="lane") as threads:
            open_lanes = {threads.submit(run_lane, lane, queue): lane for lane in lanes}
            _follow(ray, queue, threads, open_lanes, watch)
        return ray.get(queue.statuses.remote())


def _follow(
    ray: Any, queue: Any, threads: ThreadPoolExecutor, open_lanes: dict[Future[int], LaneSettings], watch: Watcher
) -> None:
    """Watch until every lane has ended; a lane that died is opened again."""
    losses = 0
    interrupted = False
    while open_lanes:
        try:
            time.sleep(POLL_SECONDS)
            watch(ray.get(queue.statuses.remote()))
            for future in [future for future in open_lanes if future.done()]:
                lane = open_lanes.pop(future)
                reason = _lane_end(future)
                if reason is None:
                    continue
                losses += 1
                ray.get(queue.lane_lost.remote(lane.name, reason))
                if losses <= MAX_LANE_LOSSES and not interrupted:
                    open_lanes[threads.submit(run_lane, lane, queue)] = lane
                elif not open_lanes:
                    ray.get(queue.give_up.remote(f"no lane was left ({reason})"))
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            log.warning("stopping: running concepts end after their epoch; press Ctrl-C again to end at once")
            ray.get(queue.stop.remote())
        except UniCTokensError:
            ray.get(queue.stop.remote())
            raise
    watch(ray.get(queue.statuses.remote()))


def _lane_end(future: Future[int]) -> str | None:
    """None for a lane that worked until nothing was left, the reason for one that died; raises what refused to start."""
    try:
        future.result()
    except LaneLost as error:
        log.warning("%s", error)
        return str(error)
    return None


def lane_count(wanted: int, processes: int, runs: int, cpus: int, gpus: int) -> int:
    """How many lanes of `processes` processes are opened for so many runs; `wanted` 0 asks for what the machine is for.

    Raises ConfigError for more than it has room for.
    """
    most = (gpus or cpus) // processes
    asked = wanted or (most if gpus else min(most, CPU_LANES))
    if asked > most or most == 0:
        raise ConfigError(
            f"{max(asked, 1)} lanes of {processes} processes do not fit: this machine has {gpus} GPUs and {cpus} CPU "
            f"cores, room for {most}; lower --lanes or --processes"
        )
    return max(1, min(asked, runs))


def _lanes(
    plan: JobPlan, settings: JobSettings, tracking: MlflowRun | None, resources: dict[str, float]
) -> list[LaneSettings]:
    cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    processes = settings.engine.processes
    count = lane_count(settings.lanes, processes, len(plan.runs), cpus, gpus)
    # An even share each: a lane that filled up to its width would leave nothing for the others.
    return [
        LaneSettings(
            name=f"lane-{number}",
            data=settings.data,
            engine=settings.engine,
            output=settings.output,
            width=min(settings.width, -(-len(plan.runs) // count)),
            cpus=max(1, cpus // (count * processes)),
            gpus=1 if gpus else 0,
            tracking=tracking,
        )
        for number in range(count)
    ]


@contextmanager
def ray_session() -> Iterator[Any]:
    """A Ray of our own on this machine, ended with the block; inside such a block, the one that is there."""
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield sys.modules["ray"]
        return
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "ray" not in sys.modules and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # A token of this job alone, which Ray reads when it is imported; its default is a file in the home folder that
        # everybody may read.
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    try:
        import ray
    except ModuleNotFoundError as error:
        raise DependencyError(
            "a job needs Ray: pip install 'unictokens[cluster]', or train one concept with 'python -m unictokens train'"
        ) from error
    # The dashboard stays on: without it Ray cannot clean up after a lane whose driver died.
    ray.init(
        address="local",
        include_dashboard=True,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
    )
    try:
        yield ray
    finally:
        ray.shutdown()


def _open_tracking(plan: JobPlan, settings: JobSettings) -> MlflowRun | None:
    if settings.tracking_uri is None:
        return None
    run = open_run(settings.tracking_uri, plan.name, settings.parent, tags={"data": settings.data.name})
    concepts = {run.concept for run in plan.runs} | {skip.plan.concept for skip in plan.skipped}
    run.log_params({"concepts": len(concepts), "backbone": settings.engine.backbone})
    return run


def _track_summary(tracking: MlflowRun, summary: Summary, path: Path) -> None:
    finished = sum(row.status == "finished" for row in summary.rows)
    numbers = {"finished": finished, "failed": len(summary.failed), "seconds": summary.seconds}
    _tell(lambda: tracking.log_metrics(0, numbers))
    _tell(lambda: tracking.log_artifact(path))


def _tell(send: Callable[[], None]) -> None:
    """Send a last word; a tracking server that went away meanwhile costs that word, not the job."""
    try:
        send()
    except StorageError as error:
        log.warning("%s", error)
