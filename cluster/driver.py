"""The loop of a job's driver: listens to the queue, looks after lanes, shows how it goes, until nothing is left to do."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cluster.folder import JobFolder
from cluster.host import heard
from cluster.interrupts import Interrupts
from cluster.keeper import Bulletin
from cluster.lanes import LanePool
from cluster.nodes import LaneShape, Node, living, room
from cluster.run_status import RunStateName, RunStatus
from unictokens.errors import StorageError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
STOP_SECONDS = 2.0
"""Between two looks whether somebody asked the job to stop: in a bucket each is a request."""
LANES_SECONDS = 5.0
"""Between two looks at the cluster, and two notes about the lanes in the job's folder."""


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


@dataclass
class Driver:
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
    looked_for_stop: float = -math.inf
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
        if self.interrupts.asked or self._stop_asked():
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

    def _stop_asked(self) -> bool:
        if time.monotonic() - self.looked_for_stop < STOP_SECONDS:
            return False
        self.looked_for_stop = time.monotonic()
        try:
            return self.folder.stop_asked()
        except StorageError as error:
            log.warning("%s; trying again", error)
            return False

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
        try:
            self.folder.write_lanes({**values, "since": self.since, "begun_with": self.begun_with})
        except StorageError as error:
            # Nobody shall lose a job because its watchers wait.
            log.warning("%s; trying again", error)


def _further(before: RunStatus | None, now: RunStatus) -> bool:
    """Whether a run got an epoch or more further."""
    return before is not None and (now.over or (before.state == "running" and now.epoch > before.epoch > 0))
