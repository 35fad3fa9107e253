"""Who waits for a lane, in which order, and for what: for anybody, for a lane of their own, for a moment, or for another run."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from cluster.standings import Standings
from unictokens.learn import RunPlan


class WaitingLine:
    """Names of runs. One may still stand here when its run no longer waits (it was stopped): it is left out when its turn comes."""

    def __init__(
        self, plans: Mapping[str, RunPlan], standings: Standings, max_strikes: int, clock: Callable[[], float]
    ) -> None:
        self._plans = plans
        self._standings = standings
        self._max_strikes = max_strikes
        self._clock = clock
        self._ready: deque[str] = deque()
        self._alone: deque[str] = deque()
        self._later: list[tuple[float, str]] = []
        self._followers: dict[str, list[str]] = {}

    def join(self, name: str, front: bool = False) -> None:
        """A run waits, behind the others or before them; one that begins at a stage of another run until that is there."""
        parent = self._unready(name)
        if parent is not None:
            self._followers.setdefault(parent, []).append(name)
        elif self._dangerous(name):
            self._alone.append(name)
        elif front:
            self._ready.appendleft(name)
        else:
            self._ready.append(name)

    def join_later(self, name: str, delay: float) -> None:
        """A run waits, and nobody may have it for `delay` seconds."""
        heapq.heappush(self._later, (self._clock() + delay, name))

    def moved(self, parent: str) -> None:
        """A run left a stage or is over: those that wait for it look again."""
        for name in self._followers.pop(parent, ()):
            if self._waits(name):
                self.join(name)

    def next(self, held: Iterable[str]) -> str | None:
        """A run for a lane that holds others; those that are not to share a lane only for one that holds none."""
        while self._later and self._later[0][0] <= self._clock():
            self.join(heapq.heappop(self._later)[1])
        held = tuple(held)
        if any(self._dangerous(name) for name in held):
            return None
        for line in (self._ready,) if held else (self._alone, self._ready):
            while line:
                name = line.popleft()
                if self._waits(name):
                    return name
        return None

    def _waits(self, name: str) -> bool:
        return self._standings[name].state == "waiting"

    def _dangerous(self, name: str) -> bool:
        """Whether the next strike is its last."""
        return self._standings[name].strikes >= self._max_strikes - 1

    def _unready(self, name: str) -> str | None:
        """The run that it waits for, which is neither over nor so far that the state to begin from is on disk."""
        branch = self._plans[name].branch
        status = None if branch is None else self._standings.get(branch.run)
        if branch is None or status is None or status.over:
            return None
        stages = [stage for stage, _ in self._plans[branch.run].stages]
        passed = status.stage in stages and stages.index(status.stage) >= branch.stages
        return None if passed else branch.run
