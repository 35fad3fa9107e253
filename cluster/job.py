"""The driver of a job: takes the job's lease, starts the keeper of its queue, opens lanes, shows how it goes.

It carries nothing that is not in the job's folder: whoever kills it, another one continues.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.driver import POLL_SECONDS, Driver, Watcher
from cluster.folder import DRIVER, JobFolder
from cluster.host import heard, ray_session
from cluster.interrupts import caught
from cluster.job_settings import JobSettings, asked_of
from cluster.keeper import Keeper, prepare
from cluster.lane import LaneLost, run_lane
from cluster.lane_settings import LaneSettings
from cluster.lane_shape import lane_shape
from cluster.lanes import LanePool
from cluster.lease import Lease, Owner, Renewal, Watch, take_lease
from cluster.nodes import living
from cluster.plan import JobPlan
from cluster.run_status import RunStatus
from cluster.summary import SUMMARY_FILE, Summary, summarise, write_summary
from cluster.track import store_aliases
from cluster.which import note_sent_as
from unictokens.errors import ConfigError, StorageError
from unictokens.output import Output
from unictokens.storage.workspace import LocalWorkspace, MirroredWorkspace, Workspace
from unictokens.tracking.base import Status
from unictokens.tracking.spool import Spools
from unictokens.tracking.tracked import Tracked, TrackedEntry

log = logging.getLogger(__name__)

Feeder = Callable[[Any, Any], AbstractContextManager[None]]
"""Opened with Ray and the queue (a Ray actor of `Keeper`) before there are lanes, closed when there are none: who adds runs meanwhile."""


def run_job(plan: JobPlan, settings: JobSettings, watch: Watcher, feed: Feeder | None = None) -> Summary:
    """Do what `plan` says and write `summary.json`; one concept's failure does not stop the others.

    Without runs to train, and without a `feed` that may bring some, Ray is not started. An unfinished job of the same name is
    continued. On SIGINT or SIGTERM running runs end after their epoch; a second one ends everything at once (what is saved stays).
    Raises ConfigError for impossible lanes, ClusterError for a cluster without room and for a job that somebody else drives,
    StorageError for a tracking address or folder that does not answer, CheckpointError for a backbone that does not load.
    """
    settings.check()
    if not plan.runs and feed is None:
        summary = summarise(plan, (), 0.0)
        write_summary(summary, settings.output)
        return summary
    folder = JobFolder(settings.output, plan.name)
    with driving(folder):
        planned, _ = prepare(folder, plan)
        folder.write_asked(asked_of(settings))
        return _drive(folder, planned, settings, watch, feed)


def resume_job(name: str, settings: JobSettings, watch: Watcher) -> Summary:
    """Continue the job `name`, whose driver died or was stopped; one that was over tries what had failed again.

    settings  as `settings_of` its folder says, or changed
    Raises as `run_job` does, and ConfigError for a job that is not there.
    """
    settings.check()
    folder = JobFolder(settings.output, name)
    with driving(folder):
        plan, left = prepare(folder, None)
        if left:
            return _drive(folder, plan, settings, watch)
        summary = summarise(plan, Keeper(folder).statuses(), 0.0)
        write_summary(summary, settings.output)
        return summary


def driving(folder: JobFolder) -> Renewal:
    """The lease of a job's driver, kept until the block ends. Raises ConfigError while somebody else holds it."""
    watch, owner = Watch(), Owner.here(folder.name)
    before: tuple[int, int] | None = None
    while True:
        lease = take_lease(folder.place, DRIVER, owner, watch)
        if isinstance(lease, Lease):
            folder.forget_stop()
            return Renewal(lease)
        beats = watch.last(folder.place, DRIVER)
        if before is not None and beats != before:
            raise ConfigError(
                f"job '{folder.name}' is being driven by {lease}: wait for it, stop it, or look at it with "
                f"'python -m cluster status {folder.name} --out {folder.output}'"
            )
        if before is None:
            log.warning("job '%s' was driven by %s: looking whether it still is", folder.name, lease)
        before = beats
        time.sleep(POLL_SECONDS)


def _drive(
    folder: JobFolder, plan: JobPlan, settings: JobSettings, watch: Watcher, feed: Feeder | None = None
) -> Summary:
    started = time.monotonic()
    note_sent_as(folder)
    kept = _keep_entry(plan, settings)
    tracking = _open_tracking(plan, settings)
    kept.push()
    status: Status = "failed"
    aliases: dict[str, dict[str, int]] = {}
    try:
        statuses = _train(folder, plan, settings, tracking.inner, watch, feed)
        summary = summarise(plan, statuses, time.monotonic() - started)
        output = Output(settings.output)
        for place in dict.fromkeys([folder.place, settings.output, output.local]):
            write_summary(summary, place)
        _track_summary(tracking, summary, output.local / SUMMARY_FILE)
        names = tuple(sorted({row.concept for row in summary.rows if row.version and settings.registered}))
        aliases = store_aliases(output.store, names)
        status = "finished" if not summary.unfinished else "stopped" if not summary.failed else "failed"
        return summary
    finally:
        _end_tracking(tracking, kept, status, aliases)


def _train(
    folder: JobFolder, plan: JobPlan, settings: JobSettings, tracking: Tracked, watch: Watcher, feed: Feeder | None
) -> Sequence[RunStatus]:
    with ray_session() as ray, caught() as interrupts:
        shape, limits = lane_shape(plan, settings, living(ray))
        lanes = LaneSettings(
            name="",
            job=folder.name,
            word=folder.share_word(),
            data=settings.data,
            engine=settings.engine,
            output=settings.output,
            width=limits.width,
            cpus=shape.cpus,
            gpus=shape.gpus,
            stall=settings.stall,
            tracking=tracking,
            registered=settings.registered,
            afterwards=settings.afterwards,
        )
        # Beside the driver: with it everything goes, and no other node takes the queue along.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        keeper = (
            ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Keeper)
            .options(scheduling_strategy=here)
            .remote(folder)
        )
        driver = Driver(ray, folder, keeper, LanePool(RayLanes(ray, keeper, lanes), limits), shape, interrupts, watch)
        with nullcontext() if feed is None else feed(ray, keeper):
            driver.follow()
        return heard(keeper.statuses.remote())


@dataclass
class RayLanes:
    """Lanes as Ray Train runs (see `cluster.lane`)."""

    ray: Any
    keeper: Any
    settings: LaneSettings

    def open(self, name: str) -> int:
        return run_lane(replace(self.settings, name=name), self.keeper)

    def end(self, name: str) -> None:
        handle = heard(self.keeper.handle.remote(name))
        if handle is not None:
            self.ray.kill(handle)

    def lost(self, error: BaseException) -> bool:
        return isinstance(error, LaneLost)


def _keep_entry(plan: JobPlan, settings: JobSettings) -> Workspace:
    """The folder of the job's own entry: who continues a job on another machine goes on with its entry. Raises StorageError."""
    output = Output(settings.output)
    folder = Spools(output.local).entry(plan.name)
    if isinstance(output.root, Path):
        return LocalWorkspace(folder)
    return MirroredWorkspace(folder, output.storage, folder.relative_to(output.local).as_posix())


def _open_tracking(plan: JobPlan, settings: JobSettings) -> TrackedEntry:
    local, named = Output(settings.output).local, str(settings.output)
    place = Tracked(local, settings.tracking_uri, settings.above, named=named)
    entry = TrackedEntry(place, plan.name, {"data": settings.data.name, "kind": "job"}, optional=settings.track_later)
    concepts = {run.concept for run in plan.runs} | {skip.plan.concept for skip in plan.skipped}
    entry.tracker.params({"concepts": len(concepts), "backbone": settings.engine.backbone})
    return entry


def _track_summary(tracking: TrackedEntry, summary: Summary, path: Path) -> None:
    finished = sum(row.status == "finished" for row in summary.rows)
    numbers = {"finished": finished, "failed": len(summary.failed), "seconds": summary.seconds}
    tracking.tracker.metrics(0, numbers)
    tracking.tracker.artifact(path)


def _end_tracking(tracking: TrackedEntry, kept: Workspace, status: Status, aliases: dict[str, dict[str, int]]) -> None:
    """Close the job's entry and say what the server does not have yet; an error here must not hide the job's own."""
    try:
        left = tracking.close(status, aliases)
        kept.push()
    except StorageError as error:
        left = str(error)
    if left:
        log.warning("%s", left)
