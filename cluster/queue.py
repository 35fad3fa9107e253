"""Which run is where: the one place that lanes ask for work and tell how it goes. Knows neither Ray nor training."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from unictokens.learn import Learned, RunPlan
from unictokens.training.session import Progress

RunStateName = Literal["waiting", "running", "finished", "failed", "stopped"]
MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Where a run stands. `done` is 0 to 1; `error` is one line; `version` is set once it is published."""

    name: str
    concept: str
    state: RunStateName = "waiting"
    lane: str = ""
    attempts: int = 0
    stage: str = ""
    epoch: int = 0
    epochs: int = 0
    done: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    version: int | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it in this job."""
        return self.state in ("finished", "failed", "stopped")


class RunQueue:
    """Hands out each run to one lane at a time and remembers how it went.

    A run whose lane died is handed out again, up to `max_attempts` times; one that failed by itself is not.
    """

    def __init__(self, runs: Sequence[RunPlan], max_attempts: int = MAX_ATTEMPTS) -> None:
        self._plans = {run.name: run for run in runs}
        self._waiting = deque(run.name for run in runs)
        self._statuses = {run.name: RunStatus(name=run.name, concept=run.concept) for run in runs}
        self._max_attempts = max_attempts
        self._stopping = False

    def take(self, lane: str) -> RunPlan | None:
        """The next run for `lane`, or None when none is ready or the job is stopping.

        A run that begins at a stage of another one is ready once that one is over, however it ended.
        """
        name = next((name for name in self._waiting if self._ready(name)), None)
        if self._stopping or name is None:
            return None
        self._waiting.remove(name)
        self._set(name, state="running", lane=lane, attempts=self._statuses[name].attempts + 1, error="")
        return self._plans[name]

    def holding(self) -> bool:
        """Whether runs wait for others that are still under way: who has nothing to do may ask again later."""
        return bool(self._waiting) and not self._stopping

    def _ready(self, name: str) -> bool:
        branch = self._plans[name].branch
        return branch is None or branch.run not in self._statuses or self._statuses[branch.run].over

    def report(self, name: str, progress: Progress) -> None:
        """Where a running run is."""
        if self._statuses[name].state == "running":
            self._set(
                name,
                stage=progress.stage,
                epoch=progress.epoch,
                epochs=progress.epochs,
                done=self._plans[name].done(progress),
                losses=dict(progress.losses),
            )

    def finish(self, learned: Learned) -> None:
        """A run is over: published, or stopped by the job."""
        self._set(
            learned.name,
            state="finished" if learned.status == "finished" else "stopped",
            stage=learned.stage,
            epoch=learned.epoch,
            done=1.0 if learned.status == "finished" else self._statuses[learned.name].done,
            losses=dict(learned.losses),
            version=learned.version,
            seconds=learned.seconds,
        )

    def fail(self, name: str, error: str) -> None:
        """A run cannot go on, for a reason of its own: it is set aside, the lane goes on with the next."""
        self._set(name, state="failed", error=error)

    def lane_lost(self, lane: str, reason: str) -> tuple[str, ...]:
        """A lane died: its runs wait again, in front, or are set aside after `max_attempts`; returns their concepts."""
        mine = [status for status in self._statuses.values() if status.lane == lane and status.state == "running"]
        for status in mine:
            if status.attempts >= self._max_attempts:
                self.fail(status.name, f"its lane died {status.attempts} times ({reason}): see logs/{lane}.log")
            else:
                self._set(status.name, state="waiting")
                self._waiting.appendleft(status.name)
        return tuple(status.concept for status in mine)

    def give_up(self, reason: str) -> None:
        """No lane is left: whatever still waits has failed."""
        while self._waiting:
            self.fail(self._waiting.popleft(), reason)

    def stop(self) -> None:
        """Hand out nothing more; running runs end after their epoch."""
        self._stopping = True

    def stopping(self) -> bool:
        """Whether the job is being stopped."""
        return self._stopping

    def statuses(self) -> tuple[RunStatus, ...]:
        """Every run, in the order of the plan."""
        return tuple(self._statuses.values())

    def _set(self, name: str, **changes: object) -> None:
        self._statuses[name] = replace(self._statuses[name], **changes)  # type: ignore[arg-type]
