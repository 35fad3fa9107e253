"""A lane's heart: it tells the queue that the lane lives, keeps the leases of its runs, and hears what the lane must know.

Two threads, because the training thread may be inside one long computation, and because leases must not wait for Ray.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from cluster.keeper import LaneSign, Orders
from cluster.lease import BEAT_SECONDS, Lease, LeaseLost
from cluster.run_status import Ticket
from unictokens.errors import StorageError
from unictokens.training.session import Withdrawn

log = logging.getLogger(__name__)

SIGN_SECONDS = 2.0
STALLED = 75
"""Exit code of a lane that ended itself because its training stood still."""


class Ear(Protocol):
    """Where signs go to; raises ConnectionError when nobody will ever hear them again."""

    def beat(self, sign: LaneSign) -> Orders | None:
        """What the queue answers; None when it does not at the moment."""
        ...


class Heart:
    """Start it, tell it of every run that comes and goes, and ask it before every step that matters."""

    def __init__(
        self,
        ear: Ear,
        sign: Callable[[float, tuple[Ticket, ...]], LaneSign],
        stall: float,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        """
        sign   makes a sign of life of (seconds of silence, tickets)
        stall  seconds without a sign from the training after which the process ends itself
        end    how
        """
        self._ear = ear
        self._sign = sign
        self._stall = stall
        self._clock = clock
        self._end = end
        self._moved = clock()
        self._runs: dict[Ticket, Lease] = {}
        self._withdrawn: set[Ticket] = set()
        self._leaving = False
        self._over = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Beat from now on, until `stop`."""
        for name, beat, every in (("signs", self.tell, SIGN_SECONDS), ("leases", self.renew, BEAT_SECONDS)):
            threading.Thread(target=self._again, args=(beat, every), name=name, daemon=True).start()

    def stop(self) -> None:
        """No more beats."""
        self._over.set()

    def moved(self) -> None:
        """The training did something."""
        self._moved = self._clock()

    def carry(self, ticket: Ticket, lease: Lease) -> None:
        """A run came in."""
        with self._lock:
            self._runs[ticket] = lease

    def drop(self, ticket: Ticket) -> None:
        """A run went out; its lease is given back, if it is still ours. A disk that refuses costs the next lane some waiting."""
        with self._lock:
            lease = self._runs.pop(ticket, None)
            self._withdrawn.discard(ticket)
        if lease is not None:
            try:
                lease.release()
            except StorageError as error:
                log.warning("%s", error)

    @property
    def leaving(self) -> bool:
        """Whether this node goes away, for good once it was said: take nothing new, save runs after their step and end them."""
        return self._leaving

    def check(self, ticket: Ticket) -> None:
        """Raises Withdrawn when it is known that somebody else has the run."""
        if ticket in self._withdrawn:
            raise Withdrawn(f"run '{ticket.run}' was given to another lane")

    def confirm(self, ticket: Ticket) -> None:
        """Raises Withdrawn when somebody else has the run; looks at the lease itself, before anything of the run is written."""
        lease = self._runs.get(ticket)
        try:
            if lease is not None:
                lease.check()
        except LeaseLost:
            self._withdrawn.add(ticket)
        self.check(ticket)

    def tell(self) -> None:
        """One sign of life; ends the process when the training stands still or nobody listens any more."""
        idle = self._clock() - self._moved
        if idle > self._stall:
            log.error("nothing has moved for %.0f s: this lane ends itself", idle)
            self._end(STALLED)
        try:
            orders = self._ear.beat(self._sign(idle, tuple(self._runs)))
        except ConnectionError as error:
            log.error("the job is gone (%s): this lane ends", error)
            self._end(STALLED)
            return
        if orders is None:
            return
        self._withdrawn.update(ticket for ticket in tuple(self._runs) if ticket.run in orders.lost)
        if orders.leave_in is not None and not self._leaving:
            log.warning(
                "this node goes away in %.0f s: runs are saved after their step and handed back", orders.leave_in
            )
            self._leaving = True

    def renew(self) -> None:
        """Renew the leases; a run whose lease was taken is withdrawn."""
        for ticket, lease in tuple(self._runs.items()):
            with self._lock:
                if ticket not in self._runs:
                    continue
                try:
                    lease.renew()
                except LeaseLost as error:
                    log.warning("%s", error)
                    self._withdrawn.add(ticket)
                except StorageError as error:
                    log.warning("%s; trying again", error)

    def _again(self, beat: Callable[[], None], every: float) -> None:
        while not self._over.is_set():
            beat()
            self._over.wait(every)
