"""Whether an engine still does its work, told from its numbers: what a health check asks."""

import time
from collections.abc import Callable

from serve.engine.counters import Counters, LaneCounters
from unictokens.errors import ServeError

STALL = 120.0
"""Seconds with work and without any progress after which an engine counts as stuck."""
BROKEN = 3
"""Passes in a row that failed as a whole after which the model counts as broken: a GPU in error stays in error."""


class Pulse:
    """Remembers the numbers of the last look."""

    def __init__(self, counters: Counters, clock: Callable[[], float] = time.monotonic, stall: float = STALL) -> None:
        self._counters = counters
        self._clock = clock
        self._stall = stall
        self._moved = clock()
        self._seen: tuple[int, ...] = ()
        self._done = 0
        self._broken = 0

    def check(self, alive: bool) -> None:
        """Raises ServeError when the engine is dead, stuck or broken."""
        if not alive:
            raise ServeError("the engine's thread has ended: start this replica again")
        counters, now = self._counters, self._clock()
        lanes = (counters.drawing, counters.answering)
        seen = tuple(number for lane in lanes for number in (lane.ticks, _ended(lane)))
        if seen != self._seen or all(lane.submitted == _ended(lane) for lane in lanes):
            self._seen, self._moved = seen, now
        if now - self._moved > self._stall:
            raise ServeError(f"the engine has work and has done nothing for {now - self._moved:.0f} s")
        done = sum(lane.done for lane in lanes)
        if done != self._done:
            self._done, self._broken = done, counters.broken_ticks
        if counters.broken_ticks - self._broken >= BROKEN:
            raise ServeError(f"{counters.broken_ticks - self._broken} passes of the model failed and none succeeded")


def _ended(lane: LaneCounters) -> int:
    return lane.done + lane.failed + lane.cancelled + lane.timed_out
