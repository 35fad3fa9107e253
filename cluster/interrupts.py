"""SIGINT and SIGTERM of a driver: the first asks the job to end after its epochs, the second ends it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interrupts:
    """What arrived so far. `signal` is the last one, 0 for none."""

    signal: int = 0
    count: int = 0

    @property
    def asked(self) -> bool:
        """Whether the job shall end."""
        return self.count > 0


@contextmanager
def caught() -> Iterator[Interrupts]:
    """Inside the block the first signal is noted; the second raises KeyboardInterrupt. Off the main thread nothing is caught."""
    seen = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(number: int, frame: object) -> None:
        seen.signal, seen.count = number, seen.count + 1
        if seen.count > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
