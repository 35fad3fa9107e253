"""The seeded killer: again and again it ends something of a running job, chosen by a random number generator with a seed."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil
from chaos_world import TITLES, Driver, World

log = logging.getLogger(__name__)

KINDS = ("worker", "lane", "node", "drain", "queue", "driver")
NODE_SECONDS = 8.0
"""Until a lost node is replaced."""
DRAIN_SECONDS = 12.0
"""Between the notice that a node goes and its going."""


@dataclass
class Killer:
    """Ends things of a job until the job is over."""

    world: World
    driver: Driver
    random: random.Random
    kinds: Sequence[str] = KINDS
    done: list[str] = field(default_factory=list)
    _node_due: float = 0.0
    _drained: tuple[int, float] | None = None

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
            self._replace_node()
            time.sleep(0.2)
        return code

    def strike(self, kind: str) -> bool:
        """End one thing of a kind; False when there is none at the moment."""
        struck = {"node": self._node, "drain": self._drain, "driver": self._driver}.get(
            kind, lambda: self._process(kind)
        )()
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
            self._replace_node()
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

    def _node(self) -> bool:
        if self._node_due or self._drained:
            return False
        self._lose(self.random.randrange(len(self.world.nodes)))
        return True

    def _drain(self) -> bool:
        if self._node_due or self._drained:
            return False
        at = self.random.randrange(len(self.world.nodes))
        self.world.drain_node(at, DRAIN_SECONDS)
        self._drained = (at, time.monotonic() + DRAIN_SECONDS)
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

    def _replace_node(self) -> None:
        if self._drained and time.monotonic() >= self._drained[1]:
            at, self._drained = self._drained[0], None
            self._lose(at)
        if self._node_due and time.monotonic() >= self._node_due:
            self._node_due = 0.0
            self.world.add_node()
