"""What is added to a journal after it was begun: lines at the end of a file or, in a bucket, parts beside an object.

Nothing can be appended to an object. There, lines gather in a part that is put again with new ones, until it is long and the
next part begins: so a journal is a few objects however long it gets. What comes within a second of the last put begins a part of its own,
because Google takes one write of an object each second.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from cluster.numbered import Numbered
from unictokens.atomic import storage_error
from unictokens.errors import StorageError

log = logging.getLogger(__name__)

SYNC_SECONDS = 1.0
"""Between forced writes to the disk: a killed process loses nothing, a machine that loses power this much."""
PART_BYTES = 1 << 17
"""A part that is longer than this is not put again."""
PUT_SECONDS = 1.0
"""An object that was put so lately is not put again."""
PATIENCE_SECONDS = 60.0
"""How long a bucket that refuses or does not answer is asked again; what goes through it costs less than a job that ends."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)

T = TypeVar("T")


class Tail(Protocol):
    """Lines behind a journal's beginning. Raises StorageError."""

    def write(self, line: bytes) -> None:
        """Add a line."""
        ...

    def sync(self, older: float = 0.0) -> None:
        """When lines wait for more than `older` seconds, bring all of them to where they survive this process."""
        ...

    def close(self) -> None:
        """Force what was written to the disk; nothing can be added any more."""
        ...


class FileTail:
    """Lines at the end of a file on a disk; they survive the death of this process as soon as they are written."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._synced = 0.0
        try:
            self._file = path.open("ab")
        except OSError as error:
            raise storage_error(error, path) from error

    def write(self, line: bytes) -> None:
        try:
            self._file.write(line)
            self._file.flush()
            if self._clock() - self._synced >= SYNC_SECONDS:
                self._synced = self._clock()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise storage_error(error, self._path) from error

    def sync(self, older: float = 0.0) -> None:
        """Nothing to do: a line is with the operating system when it is written."""

    def close(self) -> None:
        try:
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise storage_error(error, self._path) from error


class ObjectTail:
    """Lines in the parts of an object."""

    def __init__(self, files: Numbered, number: int, clock: Callable[[], float]) -> None:
        self._files = files
        self._number = number
        self._clock = clock
        self._part = 1
        self._lines = bytearray()
        self._put = 0  # bytes of the part that the bucket has
        self._put_at = 0.0
        self._waiting_since: float | None = None

    def write(self, line: bytes) -> None:
        self._lines += line
        if self._waiting_since is None:
            self._waiting_since = self._clock()

    def sync(self, older: float = 0.0) -> None:
        if self._waiting_since is None or self._clock() - self._waiting_since < older:
            return
        if self._put and (self._put >= PART_BYTES or self._clock() - self._put_at < PUT_SECONDS):
            self._part += 1
            del self._lines[: self._put]
        patiently(lambda: self._files.write_part(self._number, self._part, bytes(self._lines)))
        self._waiting_since = None
        self._put, self._put_at = len(self._lines), self._clock()

    def close(self) -> None:
        self.sync()


def open_tail(files: Numbered, number: int, clock: Callable[[], float]) -> Tail:
    """The tail of a journal that was begun just now. Raises StorageError."""
    if isinstance(files.place, Path):
        return FileTail(files.place / files.name(number), clock)
    return ObjectTail(files, number, clock)


def patiently(ask: Callable[[], T], seconds: float | None = None) -> T:
    """What `ask` returns, asked again while a bucket refuses, for so many seconds (`PATIENCE_SECONDS`). Raises StorageError."""
    until = time.monotonic() + (PATIENCE_SECONDS if seconds is None else seconds)
    tries = 0
    while True:
        try:
            return ask()
        except StorageError as error:
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            if time.monotonic() + pause > until:
                raise
            log.warning("%s; trying again", error)
            time.sleep(pause)
            tries += 1
