"""The lanes of a job, as its driver sees them: opened while runs wait and there is room, replaced when they die."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cluster.keeper import LaneSign
from unictokens.errors import ClusterError

log = logging.getLogger(__name__)

MAX_LOSSES = 5
"""So many lanes may die one after the other without any run having got further in between."""
BACK_OFF = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds until the next lane is opened after so many such losses."""
PLACE_SECONDS = 5.0
"""Seconds until the next one is opened after one that never worked."""
START_SECONDS = 600.0
"""A lane that has given no sign for so long after it was opened will never."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many lanes there may be.

    least    a job does not go on with fewer for longer than `timeout` seconds
    most     it opens at most so many
    width    runs that a lane takes
    stall    seconds without any movement after which a lane is ended
    grows    the cluster may grow: lanes are opened before there is room for them, which its autoscaler hears of
    """

    least: int
    most: int
    timeout: float
    width: int
    stall: float
    grows: bool = False


class Opener(Protocol):
    """Where lanes come from."""

    def open(self, name: str) -> int:
        """Work as this lane until nothing is left; the number of its runs. Raises what ended it."""
        ...

    def end(self, name: str) -> None:
        """End a lane that stands still. Nothing happens when it is gone."""
        ...

    def lost(self, error: BaseException) -> bool:
        """Whether an error of `open` means that the lane died, and not that it refused to start."""
        ...


@dataclass
class _Lane:
    name: str
    opened: float
    moved: float
    heard: bool = False
    ended: bool = False
    held: int = 0
    error: BaseException | None = None
    runs: int = 0


@dataclass(frozen=True)
class Loss:
    """A lane that died."""

    lane: str
    reason: str


@dataclass
class LanePool:
    """Opens lanes in threads of their own and says which died; decides nothing about runs."""

    opener: Opener
    limits: Limits
    clock: Callable[[], float] = time.monotonic
    _lanes: dict[str, _Lane] = field(default_factory=dict)
    _opened: int = 0
    _losses: int = 0
    _not_before: float = 0.0
    _short_since: float | None = None
    _last_reason: str = ""

    @property
    def count(self) -> int:
        """Lanes that are open or being opened."""
        return len(self._lanes)

    @property
    def working(self) -> int:
        """Those among them that gave a sign of life."""
        return sum(lane.heard for lane in self._lanes.values())

    @property
    def worn_out(self) -> str:
        """Why no more lanes are opened, empty while they are."""
        return self._last_reason if self._losses > MAX_LOSSES else ""

    def progress(self) -> None:
        """A run got further: whatever killed lanes before is over."""
        self._losses = 0

    def hear(self, signs: Mapping[str, tuple[LaneSign, float]]) -> None:
        """What lanes said of themselves, and how long ago each of them moved."""
        for name, (sign, age) in signs.items():
            lane = self._lanes.get(name)
            if lane is not None:
                lane.heard, lane.moved, lane.held = True, self.clock() - age, len(sign.tickets)

    def reap(self) -> list[Loss]:
        """Lanes that died since the last call, those included that stand still and are ended now.

        Raises what made a lane refuse to start.
        """
        losses = []
        for lane in list(self._lanes.values()):
            allowed = self.limits.stall if lane.heard else max(self.limits.stall, START_SECONDS)
            if lane.ended:
                del self._lanes[lane.name]
                if lane.error is not None:
                    losses.append(self._loss(lane, lane.error))
            elif self.clock() - lane.moved > 1.2 * allowed:
                # It should have ended itself by now; whatever keeps it may keep its thread here, too.
                del self._lanes[lane.name]
                threading.Thread(target=self.opener.end, args=(lane.name,), daemon=True).start()
                losses.append(self._lost(lane, f"lane '{lane.name}' stood still for {allowed:.0f} s"))
        return losses

    def open(self, waiting: int, room: int) -> None:
        """Open as many lanes as the waiting runs need and the cluster (`room` lanes in all) and the limits permit."""
        if self.clock() < self._not_before or self.worn_out:
            return
        free = sum(self.limits.width - min(lane.held, self.limits.width) for lane in self._lanes.values())
        needed = -(-max(0, waiting - free) // self.limits.width)
        most = self.limits.most if self.limits.grows else min(room, self.limits.most)
        for _ in range(min(needed, most - self.count)):
            self._start()

    def check(self, waiting: int, room: int, missing: str) -> None:
        """Raises ClusterError when too few lanes work for too long although there is work.

        missing  what a lane takes and what the cluster has, for people
        """
        if self.working >= self.limits.least or not waiting:
            self._short_since = None
            return
        if self._short_since is None:
            self._short_since = self.clock()
        if self.clock() - self._short_since > self.limits.timeout:
            why = f"room for {room}" if room < self.limits.least else f"{self.working} working, the rest was not placed"
            raise ClusterError(
                f"no capacity for {self.limits.timeout:.0f} s: at least {self.limits.least} lanes are wanted, {why} "
                f"({missing}): add nodes, lower --min-lanes, or raise --timeout; --resume goes on"
            )

    def _start(self) -> None:
        self._opened += 1
        name = f"lane-{self._opened - 1}-{secrets.token_hex(2)}"
        lane = self._lanes[name] = _Lane(name, self.clock(), self.clock())
        threading.Thread(target=self._live, args=(lane,), name=name, daemon=True).start()

    def _live(self, lane: _Lane) -> None:
        try:
            lane.runs = self.opener.open(lane.name)
        except BaseException as error:  # whatever it is, the driver's thread hears it from `reap`
            lane.error = error
        finally:
            lane.ended = True

    def _loss(self, lane: _Lane, error: BaseException) -> Loss:
        if not self.opener.lost(error):
            raise error
        return self._lost(lane, str(error))

    def _lost(self, lane: _Lane, reason: str) -> Loss:
        log.warning("%s", reason)
        # One that never worked may have found no room: how long that is borne is what `check` decides.
        self._losses += lane.heard
        self._last_reason = reason
        self._not_before = self.clock() + (
            BACK_OFF[min(self._losses - 1, len(BACK_OFF) - 1)] if lane.heard else PLACE_SECONDS
        )
        return Loss(lane.name, reason)
