"""How a job stands, read from its folder: no Ray, no driver needed, and nothing that a watcher could disturb."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cluster.folder import DRIVER, JobFolder
from cluster.journal import Record
from cluster.numbered import Numbered
from cluster.plan import JobPlan
from cluster.plan_file import decode_runs
from cluster.queue import RunQueue
from cluster.run_status import RunStatus
from unictokens.errors import StorageError
from unictokens.learn import RunPlan
from unictokens.storage.base import join

JobState = Literal["running", "stopping", "silent", "interrupted", "stopped", "failed", "finished"]
SILENT_SECONDS = 60.0
"""A driver renews its lease every few seconds; one that has not for so long may be dead."""


@dataclass(frozen=True, kw_only=True)
class LaneView:
    """A lane as its driver last saw it. Memory is in bytes, `idle` in seconds since its training moved."""

    lane: str
    host: str
    process: int
    node: str = ""
    idle: float = 0.0
    memory: int = 0
    device_memory: int = 0
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A job at one moment.

    state      running; stopping (was asked to); silent (its driver, elsewhere, may be dead); interrupted (its driver died);
               stopped, failed (some concepts) or finished
    driver     who drives it, "" for nobody
    age        seconds since its driver was last heard of, None without one
    done       0 to 1, of all runs
    remaining  seconds to go at the pace so far, None when nobody knows
    """

    job: str
    state: JobState
    driver: str = ""
    age: float | None = None
    done: float = 0.0
    remaining: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    lanes: tuple[LaneView, ...] = ()
    runs: tuple[RunStatus, ...] = ()
    skipped: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether nobody works on it."""
        return self.state in ("interrupted", "stopped", "failed", "finished")

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Snapshot":
        """The opposite of `to_json`. Raises StorageError for something else."""
        try:
            values: dict[str, Any] = json.loads(text)
            lanes = tuple(LaneView(**{**lane, "runs": tuple(lane["runs"])}) for lane in values.pop("lanes"))
            runs = tuple(RunStatus(**run) for run in values.pop("runs"))
            return cls(**values, lanes=lanes, runs=runs)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"no snapshot of a job ({error}): is the cluster's version of this project another one?"
            ) from error


class Watched:
    """A job's folder that is looked at again and again; what cannot change is read once."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._plan: tuple[float | None, JobPlan] | None = None

    def look(self) -> Snapshot:
        """How the job stands now. Raises StorageError for files that are damaged."""
        plan = self._read_plan()
        queue, _ = restored(plan, self._folder.records())
        note = self._note()
        driver, over = self._folder.driver(), queue.over
        age = None if driver is None else self._beat_age()
        counts = {str(state): number for state, number in queue.counts().items() if number}
        state = _state(driver is not None, over, counts, self._folder.stop_asked(), age)
        # An older note is of another driver.
        alive = (
            note if note is not None and driver is not None and note["time"] > time.time() - SILENT_SECONDS else None
        )
        done = round(max(queue.done(), alive["done"]) if alive is not None else queue.done(), 4)
        return Snapshot(
            job=self._folder.name,
            state=state,
            driver="" if driver is None else str(driver),
            age=age,
            done=done,
            remaining=None if alive is None else _remaining(alive, done),
            counts=counts,
            lanes=() if alive is None else tuple(_lane(lane) for lane in alive["lanes"]),
            runs=queue.statuses(),
            skipped=len(plan.skipped),
            refused={refusal.concept: refusal.reason for refusal in plan.refused},
        )

    def _read_plan(self) -> JobPlan:
        changed = self._folder.planned
        if self._plan is None or self._plan[0] != changed:
            self._plan = (changed, self._folder.plan())
        return self._plan[1]

    def _beat_age(self) -> float:
        """By the file's own time: a driver renews its lease every few seconds."""
        leases = Numbered(self._folder.place, DRIVER, ".lease")
        beaten = leases.storage.modified(leases.name(leases.newest()))
        # None: another driver took it this moment.
        return 0.0 if beaten is None else max(0.0, round(time.time() - beaten, 1))

    def _note(self) -> dict[str, Any] | None:
        note = self._folder.lanes()
        try:
            return None if note is None else {"time": float(note["time"]), "done": float(note["done"]), **note}
        except (ValueError, KeyError, TypeError) as error:
            where = join(self._folder.place, "lanes.json")
            raise StorageError(f"'{where}' is damaged ({error}): the driver writes it anew") from error


def restored(plan: JobPlan, records: list[Record]) -> tuple[RunQueue, list[RunPlan]]:
    """The queue of a job as its journal tells, and the runs that came in after it was planned."""
    queue = RunQueue(plan.runs)
    added = [run for record in records if "add" in record for run in decode_runs(record["add"])]
    queue.add(added)
    queue.restore(records)
    return queue, added


def _state(driven: bool, over: bool, counts: Mapping[str, int], asked: bool, age: float | None) -> JobState:
    if driven:
        if (age or 0.0) > SILENT_SECONDS:
            return "silent"
        return "stopping" if asked else "running"
    if over:
        return "failed" if counts.get("failed") else "finished"
    # A driver that ends in peace leaves no run under way.
    return "interrupted" if counts.get("running") else "stopped"


def _remaining(note: Mapping[str, Any], done: float) -> float | None:
    """At the pace since this driver began; start-up counts, so that early answers are too long."""
    since, begun_with = note.get("since"), note.get("begun_with")
    if since is None or begun_with is None or done <= begun_with:
        return None
    return round((note["time"] - since) * (1.0 - done) / (done - begun_with), 1)


def _lane(values: Mapping[str, Any]) -> LaneView:
    known = {key: value for key, value in values.items() if key in LaneView.__dataclass_fields__}
    return LaneView(**{**known, "runs": tuple(known.get("runs", ()))})
