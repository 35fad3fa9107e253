"""The driver of a job: takes the job's lease, starts the keeper of its queue, opens lanes, shows how it goes.

It carries nothing that is not in the job's folder: whoever kills it, another one continues.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.engines import EngineSettings
from cluster.folder import DRIVER, JobFolder
from cluster.host import elsewhere, heard, ray_session
from cluster.interrupts import Interrupts, caught
from cluster.keeper import Bulletin, Keeper, prepare
from cluster.lane import Afterwards, LaneLost, LaneSettings, run_lane
from cluster.lanes import LanePool, Limits
from cluster.lease import Lease, Owner, Renewal, Watch, take_lease
from cluster.nodes import LaneShape, Node, living, room
from cluster.plan import JobPlan
from cluster.queue import RunStateName, RunStatus
from cluster.summary import Summary, summarise, write_summary
from cluster.track import store_aliases
from cluster.which import note_sent_as
from unictokens.errors import ConfigError, StorageError
from unictokens.output import Output
from unictokens.tracking.base import Ancestor, Status
from unictokens.tracking.tracked import Tracked, TrackedEntry

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LANES_SECONDS = 5.0
"""Between two looks at the cluster, and two notes about the lanes in the job's folder."""
CPU_LANES = 4
"""Most lanes that are opened unasked on a machine without a GPU: each is a few processes and a gigabyte."""
WIDTH = 8
"""Runs that a lane trains together unless told otherwise."""
STALL_SECONDS = 900.0
"""Longer than anything that a lane does in one piece: loading 6 GB from a slow disk, drawing all previews of a wide pack."""
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Where and on what a job runs.

    lanes      exactly so many; 0 means as many as there is room for, at least `min_lanes` and at most `max_lanes` (0: one per
               GPU or, without, one per core and at most four)
    width      runs that a lane trains together, at most
    stall      seconds after which a lane that stands still is ended
    timeout    seconds for which a job goes on with fewer than `min_lanes`
    above      the tracked entries that the job's own is nested in
    track_later  begin even where the tracking server does not answer
    registered  whether what is published gets into the tracking server's registry of models
    afterwards  what lanes do for a run when it is published, before they say so
    """

    data: Path
    output: Path
    engine: EngineSettings
    lanes: int = 0
    min_lanes: int = 1
    max_lanes: int = 0
    width: int = WIDTH
    stall: float = STALL_SECONDS
    timeout: float = TIMEOUT_SECONDS
    tracking_uri: str | None = None
    track_later: bool = False
    above: tuple[Ancestor, ...] = ()
    registered: bool = True
    afterwards: Afterwards | None = None

    def check(self) -> None:
        """Raises ConfigError for numbers that contradict each other."""
        if min(self.lanes, self.max_lanes) < 0:
            raise ConfigError(
                f"--lanes {min(self.lanes, self.max_lanes)} is negative: use 0 for one per GPU, or a number"
            )
        if self.min_lanes < 1:
            raise ConfigError(f"--min-lanes {self.min_lanes} is below one: a job needs a lane")
        if self.max_lanes and self.max_lanes < self.min_lanes:
            raise ConfigError(
                f"--max-lanes {self.max_lanes} is below --min-lanes {self.min_lanes}: raise or leave it out"
            )
        if self.stall <= 0 or self.timeout <= 0:
            raise ConfigError("--stall and --timeout are seconds, above 0")

    @property
    def least(self) -> int:
        """Lanes without which the job does not go on."""
        return self.lanes or self.min_lanes


@dataclass(frozen=True)
class View:
    """How a job goes. `changed` are the runs that changed since the last look; `done` is 0 to 1."""

    total: int
    done: float
    counts: Mapping[RunStateName, int]
    changed: Sequence[RunStatus]

    @property
    def over(self) -> int:
        """Runs to which nothing more will happen."""
        return sum(self.counts.get(state, 0) for state in ("finished", "failed", "stopped"))


Watcher = Callable[[View], None]
"""Is told how the job goes a few times a second."""

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
        folder.write_asked(_asked(settings))
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
        lease = take_lease(folder.path, DRIVER, owner, watch)
        if isinstance(lease, Lease):
            folder.forget_stop()
            return Renewal(lease)
        beats = watch.last(folder.path, DRIVER)
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
    tracking = _open_tracking(plan, settings)
    status: Status = "failed"
    aliases: dict[str, dict[str, int]] = {}
    try:
        statuses = _train(folder, plan, settings, tracking.inner, watch, feed)
        summary = summarise(plan, statuses, time.monotonic() - started)
        write_summary(summary, folder.path)
        path = write_summary(summary, settings.output)
        _track_summary(tracking, summary, path)
        names = tuple(sorted({row.concept for row in summary.rows if row.version and settings.registered}))
        aliases = store_aliases(Output(settings.output).store, names)
        status = "finished" if not summary.unfinished else "stopped" if not summary.failed else "failed"
        return summary
    finally:
        _end_tracking(tracking, status, aliases)


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
        driver = _Driver(ray, folder, keeper, LanePool(RayLanes(ray, keeper, lanes), limits), shape, interrupts, watch)
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


@dataclass
class _Driver:
    """The loop of a driver: listens to the queue, looks after lanes, until nothing is left to do."""

    ray: Any
    folder: JobFolder
    keeper: Any
    pool: LanePool
    shape: LaneShape
    interrupts: Interrupts
    watch: Watcher
    version: int = 0
    nodes: Sequence[Node] = ()
    looked: float = -math.inf
    known: dict[str, RunStatus] = field(default_factory=dict)
    since: float = 0.0
    begun_with: float | None = None

    def follow(self) -> None:
        """Until every lane that works has ended and none is needed. Raises what made a lane refuse to start, and ClusterError."""
        try:
            while True:
                bulletin = self._listen()
                self._lanes(bulletin)
                # A lane that is only starting is not waited for: it would find nothing, and ends with the queue.
                if not (self.pool.working or bulletin.pending or bulletin.counts.get("running")):
                    self._listen()
                    return
                time.sleep(POLL_SECONDS)
        except BaseException:
            # Whoever still listens ends after its epoch; what is not heard any more ends with this process.
            self.keeper.stop.remote()
            raise

    def _listen(self) -> Bulletin:
        if time.monotonic() - self.looked > LANES_SECONDS:
            self.nodes = living(self.ray)
        leaving = {node.id: node.leaves_in for node in self.nodes if node.leaves_in is not None}
        if self.interrupts.asked or self.folder.stop_asked():
            self._stop()
        bulletin: Bulletin = heard(self.keeper.bulletin.remote(self.version, leaving))
        if any(_further(self.known.get(status.name), status) for status in bulletin.changed):
            self.pool.progress()
        self.known.update((status.name, status) for status in bulletin.changed)
        self.version = bulletin.version
        if self.begun_with is None and bulletin.lanes:  # what came before was starting up
            self.since, self.begun_with = time.time(), bulletin.done
        total = sum(bulletin.counts.values())
        self.watch(View(total, bulletin.done, bulletin.counts, bulletin.changed))
        return bulletin

    def _lanes(self, bulletin: Bulletin) -> None:
        pool, waiting = self.pool, bulletin.counts.get("waiting", 0) if bulletin.pending else 0
        pool.hear(bulletin.lanes)
        for loss in pool.reap():
            node = bulletin.lanes[loss.lane][0].node if loss.lane in bulletin.lanes else ""
            # Runs are not to blame for a node that went away.
            here = any(each.id == node and each.leaves_in is None for each in living(self.ray))
            heard(self.keeper.lane_lost.remote(loss.lane, loss.reason, here))
        fit = room(self.nodes, self.shape)
        if time.monotonic() - self.looked > LANES_SECONDS:
            self.looked = time.monotonic()
            self._note(bulletin)
        if waiting:
            pool.open(waiting, fit)
            if pool.worn_out and not pool.count:
                heard(self.keeper.give_up.remote(f"no lane was left ({pool.worn_out})"))
        cpus, gpus = sum(node.cpus for node in self.nodes), sum(node.gpus for node in self.nodes)
        pool.check(
            waiting, fit, f"a lane takes {self.shape}; {len(self.nodes)} nodes have {cpus} CPU cores and {gpus} GPUs"
        )

    def _stop(self) -> None:
        heard(self.keeper.stop.remote())

    def _note(self, bulletin: Bulletin) -> None:
        lanes = [
            {**{key: value for key, value in asdict(sign).items() if key != "tickets"}, "idle": age}
            | {"runs": [ticket.run for ticket in sign.tickets]}
            for sign, age in bulletin.lanes.values()
        ]
        values = {"time": time.time(), "done": round(bulletin.done, 4), "counts": dict(bulletin.counts), "lanes": lanes}
        # From these follows the pace of this driver.
        self.folder.write_lanes({**values, "since": self.since, "begun_with": self.begun_with})


def _further(before: RunStatus | None, now: RunStatus) -> bool:
    """Whether a run got an epoch or more further."""
    return before is not None and (now.over or (before.state == "running" and now.epoch > before.epoch > 0))


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


def lane_shape(plan: JobPlan, settings: JobSettings, nodes: Sequence[Node]) -> tuple[LaneShape, Limits]:
    """What each lane of a job takes, and how many there may be. Raises ConfigError for lanes that this machine has no room for."""
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    processes, runs = settings.engine.processes, len(plan.runs) + plan.more
    most = settings.lanes or settings.max_lanes
    grows = elsewhere() and most > 0
    if elsewhere():  # which may grow: what does not fit now is waited for
        now = max(1, (gpus or cpus) // processes)
        most = most or (now if gpus else min(now, CPU_LANES))
        least, count = settings.least, max(1, min(most, runs))
    else:
        lane_count(settings.least, processes, settings.least, cpus, gpus)
        most = count = lane_count(most, processes, runs, cpus, gpus)
        least = 1
    largest = max((node.cpus for node in nodes), default=1)
    now = min(count, max(1, (gpus or cpus) // processes))
    shape = LaneShape(processes=processes, cpus=max(1, min(cpus // (now * processes), largest)), gpus=1 if gpus else 0)
    while room(nodes, shape) < now and shape.cpus > 1:  # a process is on one node
        shape = replace(shape, cpus=shape.cpus - 1)
    # An even share each: a lane that filled up to its width would leave nothing for the others.
    width = min(settings.width, -(-runs // count))
    return shape, Limits(
        least=min(least, runs), most=most, timeout=settings.timeout, width=width, stall=settings.stall, grows=grows
    )


def _asked(settings: JobSettings) -> dict[str, Any]:
    values = {
        key: value for key, value in vars(settings).items() if key not in ("output", "engine", "above", "afterwards")
    }
    return {
        **values,
        "data": str(settings.data),
        "engine": {
            key: str(value) if isinstance(value, Path) else value for key, value in vars(settings.engine).items()
        },
        "above": [asdict(ancestor) for ancestor in settings.above],
    }


def settings_of(folder: JobFolder) -> JobSettings:
    """What was asked of a job. Raises ConfigError for one that is not there, StorageError for a damaged file."""
    asked = folder.asked()
    try:
        engine = dict(asked["engine"])
        engine["folder"] = None if engine["folder"] is None else Path(engine["folder"])
        return JobSettings(
            **{
                **asked,
                "data": Path(asked["data"]),
                "output": folder.output,
                "engine": EngineSettings(**engine),
                "above": tuple(Ancestor(**ancestor) for ancestor in asked["above"]),
            }
        )
    except (KeyError, TypeError) as error:
        path = folder.path / "job.json"
        raise StorageError(f"'{path}' is damaged ({error}): start the job again with its full command") from error


def _open_tracking(plan: JobPlan, settings: JobSettings) -> TrackedEntry:
    place = Tracked(settings.output, settings.tracking_uri, settings.above)
    entry = TrackedEntry(place, plan.name, {"data": settings.data.name, "kind": "job"}, optional=settings.track_later)
    concepts = {run.concept for run in plan.runs} | {skip.plan.concept for skip in plan.skipped}
    entry.tracker.params({"concepts": len(concepts), "backbone": settings.engine.backbone})
    return entry


def _track_summary(tracking: TrackedEntry, summary: Summary, path: Path) -> None:
    finished = sum(row.status == "finished" for row in summary.rows)
    numbers = {"finished": finished, "failed": len(summary.failed), "seconds": summary.seconds}
    tracking.tracker.metrics(0, numbers)
    tracking.tracker.artifact(path)


def _end_tracking(tracking: TrackedEntry, status: Status, aliases: dict[str, dict[str, int]]) -> None:
    """Close the job's entry and say what the server does not have yet; an error here must not hide the job's own."""
    try:
        left = tracking.close(status, aliases)
    except StorageError as error:
        left = str(error)
    if left:
        log.warning("%s", left)
