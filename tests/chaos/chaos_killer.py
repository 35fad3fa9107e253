"""The seeded killer: again and again it ends something of a running job, chosen by a random number generator with a seed."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
from chaos_world import TITLES, Driver, World

log = logging.getLogger(__name__)

KINDS = ("worker", "freeze", "lane", "node", "drain", "partition", "queue", "driver")
"""What can be ended, or stopped for a while: `freeze` a worker alone, `partition` a node and everything on it."""
NODE_SECONDS = 8.0
"""Until a lost node is replaced."""
DRAIN_SECONDS = (0.5, 12.0)
"""Between the notice that a node goes and its going: one that nobody can heed, and one that everybody can."""
STILL_SECONDS = (5.0, 60.0)
"""How long something is out of reach: one pause that is sat out, and one after which others have its work."""


@dataclass
class Killer:
    """Ends things of a job until the job is over."""

    world: World
    driver: Driver
    random: random.Random
    kinds: Sequence[str] = KINDS
    notice: Sequence[float] = DRAIN_SECONDS
    done: list[str] = field(default_factory=list)
    _node_due: float = 0.0
    _drained: tuple[int, float] | None = None
    _cut_off: tuple[int, float] | None = None
    _still: list[tuple[float, list[psutil.Process]]] = field(default_factory=list)

    def rage(self, every: tuple[float, float], seconds: float) -> int:
        """End a random thing every so often until the driver ends by itself; returns its exit code.

        every    shortest and longest pause, seconds
        seconds  after which the job counts as hung: TimeoutError
        """
        began = time.monotonic()
        due = began + self.random.uniform(*every)
        while (code := self.driver.code()) is None:
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"not over after {seconds:.0f} s; ended so far: {self.done}")
            if time.monotonic() >= due:
                self.strike(self.random.choice(self.kinds))
                due = time.monotonic() + self.random.uniform(*every)
            self._tend()
            time.sleep(0.2)
        return code

    def strike(self, kind: str) -> bool:
        """End one thing of a kind; False when there is none at the moment."""
        others = {
            "node": self._node,
            "drain": self._drain,
            "driver": self._driver,
            "freeze": self._freeze,
            "partition": self._partition,
        }
        struck = others.get(kind, lambda: self._process(kind))()
        if struck:
            self.done.append(kind)
            print(f"[{time.strftime('%H:%M:%S')}] ended a {kind}", flush=True)
        return struck

    def strike_after(self, kind: str, ready: Callable[[], bool], seconds: float) -> None:
        """End one thing of a kind as soon as `ready` says so and there is one. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while not (ready() and self.strike(kind)):
            if time.monotonic() > until:
                raise TimeoutError(f"no {kind} to end within {seconds:.0f} s; ended so far: {self.done}")
            if (code := self.driver.code()) is not None:
                raise AssertionError(f"the driver ended with {code} before a {kind} could be:\n{self.driver.said()}")
            self._tend()
            time.sleep(0.1)

    def _process(self, kind: str) -> bool:
        assert kind in TITLES
        found = self.world.processes(kind)
        if not found:
            return False
        try:
            self.random.choice(found).kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def _freeze(self) -> bool:
        found = self.world.processes("worker")
        if not found:
            return False
        self._stop([self.random.choice(found)], self.random.choice(STILL_SECONDS))
        return True

    def _partition(self) -> bool:
        if self._node_going:
            return False
        at, seconds = self.random.randrange(len(self.world.nodes)), self.random.choice(STILL_SECONDS)
        self._stop(self.world.processes_on(at), seconds)
        self._cut_off = (at, time.monotonic() + seconds + NODE_SECONDS)
        return True

    def _stop(self, processes: Sequence[psutil.Process], seconds: float) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        self._still.append((time.monotonic() + seconds, list(processes)))

    @property
    def _node_going(self) -> bool:
        """One node at a time."""
        return bool(self._node_due or self._drained or self._cut_off)

    def _node(self) -> bool:
        if self._node_going:
            return False
        self._lose(self.random.randrange(len(self.world.nodes)))
        return True

    def _drain(self) -> bool:
        if self._node_going:
            return False
        at, seconds = self.random.randrange(len(self.world.nodes)), self.random.choice(self.notice)
        self.world.drain_node(at, seconds)
        self._drained = (at, time.monotonic() + seconds)
        return True

    def _lose(self, at: int) -> None:
        self.world.lose_node(at)
        self._node_due = time.monotonic() + NODE_SECONDS

    def _driver(self) -> bool:
        if self.driver.folder is None:
            return False
        self.driver.kill()
        self.driver.resume()
        return True

    def _tend(self) -> None:
        """What was begun and is due: stopped processes go on, nodes go, and new ones come."""
        for due, processes in [each for each in self._still if time.monotonic() >= each[0]]:
            self._still.remove((due, processes))
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        if self._cut_off and time.monotonic() >= self._cut_off[1]:
            # Whether Ray took it for dead or not: what has been away is not to be trusted with more work.
            at, self._cut_off = self._cut_off[0], None
            self._lose(at)
        if self._drained and time.monotonic() >= self._drained[1]:
            at, self._drained = self._drained[0], None
            self._lose(at)
        if self._node_due and time.monotonic() >= self._node_due:
            self._node_due = 0.0
            self.world.add_node()
