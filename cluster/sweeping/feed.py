"""Where a job and Tune meet: while the job's lanes work, Tune asks the desk for trials in a thread of its own."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.driver import View
from cluster.host import heard
from cluster.run_status import RunStatus
from cluster.sweeping.board import Board, Posts, Report
from cluster.sweeping.desk import Desk, Lanes
from cluster.sweeping.tuner import Rule, tune_trials
from unictokens.errors import ClusterError
from unictokens.learn import RunPlan

log = logging.getLogger(__name__)

HOLD = "sweep"
END_SECONDS = 60.0
"""For Tune to end its processes."""
STOPPED = "stopped early: others of the sweep are better"


@dataclass
class KeeperLanes:
    """The queue of a job (a Ray actor of `Keeper`), as a sweep knows it."""

    keeper: Any

    def add(self, runs: Sequence[RunPlan]) -> None:
        heard(self.keeper.add.remote(tuple(runs)))

    def stop_run(self, name: str) -> None:
        heard(self.keeper.stop_run.remote(name, STOPPED))

    def close(self) -> None:
        try:
            heard(self.keeper.release.remote(HOLD))
        except ClusterError as error:  # then there are no lanes either
            log.warning("%s", error)


@dataclass
class ActorBoard:
    """A board in a process of its own, which Tune's trials can reach."""

    actor: Any

    def post(self, number: int, reports: list[Report]) -> None:
        self.actor.post.remote(number, reports)

    def close(self) -> None:
        self.actor.close.remote()


@dataclass
class Feed:
    """Given to a job, which opens it when its queue is there.

    make     a desk for these lanes and this board
    storage  for Tune's own files
    """

    make: Callable[[Lanes, Posts], Desk]
    rule: Rule
    storage: Path
    desk: Desk | None = None
    _statuses: dict[str, RunStatus] = field(default_factory=dict)
    _error: BaseException | None = None

    @contextmanager
    def __call__(self, ray: Any, keeper: Any) -> Iterator[None]:
        """Hold the lanes open and let Tune propose. Raises what ended Tune."""
        heard(keeper.hold.remote(HOLD))
        board = ray.remote(num_cpus=0)(Board).remote()
        self.desk = self.make(KeeperLanes(keeper), ActorBoard(board))
        thread = threading.Thread(target=self._tune, args=(ray, self.desk, board), name="tune", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.desk.close()
            thread.join(END_SECONDS)
            ray.kill(board)
        if self._error is not None:
            raise self._error

    def watch(self, view: View) -> None:
        """Pass on what the queue said."""
        self._statuses.update((status.name, status) for status in view.changed)
        if self.desk is not None:
            self.desk.follow(tuple(self._statuses.values()))

    def _tune(self, ray: Any, desk: Desk, board: Any) -> None:
        try:
            tune_trials(ray, desk, board, self.rule, self.storage)
        except BaseException as error:  # whatever it is, the job's thread hears it
            self._error = error
        finally:
            desk.close()
