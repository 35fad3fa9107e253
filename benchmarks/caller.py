"""Requests that come from another process, as they do at an endpoint: whoever serves has no part in sending them on time.

Only numbers of requests and of events cross; the caller's clock decides when a request came, had its first word, and was done.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

from benchmarks.servers import Server, Ticket
from serve.engine.asked import Asked

LONGEST = 600.0
"""Seconds after which a request counts as lost."""
FIRST, END, FAILED = range(3)


class Caller:
    """A process that calls; one for many loads. Use it in a `with`."""

    def __enter__(self) -> "Caller":
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_call, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()  # at which it ends
        self._process.join(5.0)
        self._process.kill()

    def offer(self, server: Server, requests: list[Asked], at: list[float]) -> list[Ticket]:
        """Have each request sent at its second, whatever has become of those before; returns them with the caller's times.

        Raises the error of one that failed, TimeoutError when one is not served within LONGEST.
        """
        self._pipe.send(at)
        sending = threading.Lock()
        tickets: dict[int, _Heard] = {}

        def tell(number: int, what: int) -> None:
            with sending:
                self._pipe.send((number, what))

        while self._pipe.poll(LONGEST):
            heard = self._pipe.recv()
            if isinstance(heard, int):
                tickets[heard] = _Heard(requests[heard], number=heard, tell=tell)
                server.submit(tickets[heard])
                continue
            failed = next((ticket.error for ticket in tickets.values() if ticket.error is not None), None)
            if failed is not None:
                raise failed
            return [_timed(asked, *times) for asked, times in zip(requests, heard, strict=True)]
        raise TimeoutError(f"nothing was heard for {LONGEST:.0f} s: offer less")


@dataclass(eq=False, kw_only=True)
class _Heard(Ticket):
    """A ticket whose events go to the caller."""

    number: int
    tell: Callable[[int, int], None]

    def say(self) -> None:
        if self.first is None:
            self.tell(self.number, FIRST)
        super().say()

    def finish(self, error: Exception | None = None) -> None:
        super().finish(error)
        self.tell(self.number, END if error is None else FAILED)


def _timed(asked: Asked, came: float, first: float, end: float) -> Ticket:
    ticket = Ticket(asked, came)
    ticket.first, ticket.end = first, end
    ticket.ended.set()
    return ticket


def _call(pipe: Connection) -> None:
    """The caller: takes a list of seconds, sends the numbers of requests at them, returns (came, first word, end) of each."""
    while True:
        try:
            at: list[float] = pipe.recv()
        except (EOFError, OSError):
            return
        # A request counts from when it should have come, or a sender that is late would hide how long it waited.
        started = time.perf_counter()
        first, ends, sent, failed = [0.0] * len(at), [0.0] * len(at), 0, False
        while (sent < len(at) or not all(ends)) and not failed:
            due = started + at[sent] - time.perf_counter() if sent < len(at) else LONGEST
            if due <= 0.0:
                pipe.send(sent)
                sent += 1
            elif pipe.poll(due):
                number, what = pipe.recv()
                now = time.perf_counter()
                first[number] = first[number] or now
                ends[number] = now if what != FIRST else 0.0
                failed = what == FAILED
        pipe.send([(started + second, one, end) for second, one, end in zip(at, first, ends, strict=True)])
