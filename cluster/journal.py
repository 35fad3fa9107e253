"""A journal: everything that happened to something, as lines of JSON that are only ever appended to.

A journal is a series of numbered files. Each begins with everything that was known when it was begun, so that the newest alone
tells all; a writer that sees a later one than its own has been replaced and must end. Its last line may be torn (its writer
was killed): it is left out.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from cluster.numbered import Numbered
from unictokens.atomic import storage_error
from unictokens.errors import StorageError

log = logging.getLogger(__name__)

SYNC_SECONDS = 1.0
"""Between forced writes to the disk: a killed process loses nothing, a machine that loses power this much."""
LEAST_LINES = 10_000
GROWTH = 3
"""A file that has this many times the lines it began with, and at least so many, is begun anew."""

Record = dict[str, Any]


class Journal:
    """The writing end."""

    def __init__(self, folder: Path, stem: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = Numbered(folder, stem, ".jsonl")
        self._clock = clock
        self._number = 0
        self._begun_with = 0
        self._lines = 0
        self._synced = 0.0
        self._file: TextIO | None = None

    @property
    def long(self) -> bool:
        """Whether it is time to begin the next file."""
        return self._lines - self._begun_with > max(LEAST_LINES, GROWTH * self._begun_with)

    def begin(self, records: Iterable[Record]) -> None:
        """Begin the next file with all that is known. Raises StorageError, also when somebody else did so meanwhile."""
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        number = (self._number or self._files.newest()) + 1
        if not self._files.create(number, "".join(lines).encode()):
            raise _replaced(self._files.path(number))
        self.close()
        try:
            self._file = self._files.path(number).open("a", encoding="utf-8")
        except OSError as error:
            raise storage_error(error, self._files.path(number)) from error
        self._number, self._begun_with, self._lines = number, len(lines), len(lines)
        # One older file stays for whoever is reading it.
        self._files.drop_before(number - 1)

    def append(self, record: Record) -> None:
        """Add a line; it survives the death of this process. Raises StorageError."""
        assert self._file is not None, "begin the journal first"
        try:
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._file.flush()
            self._lines += 1
            if self._clock() - self._synced >= SYNC_SECONDS:
                self._synced = self._clock()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise storage_error(error, self._files.path(self._number)) from error

    def check(self) -> None:
        """Raises StorageError when somebody began a later file: this writer has been replaced."""
        if self._files.newest() != self._number:
            raise _replaced(self._files.path(self._number))

    def close(self) -> None:
        """Force what was written to the disk; nothing can be appended any more."""
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
                self._file.close()
            except OSError as error:
                raise storage_error(error, self._files.path(self._number)) from error
            self._file = None


def read_journal(folder: Path, stem: str) -> Iterator[Record]:
    """The records of the newest file, in order; none when there is none. Raises StorageError for a damaged one."""
    files = Numbered(folder, stem, ".jsonl")
    data = None
    while data is None:
        number = files.newest()
        if number == 0:
            return
        data = files.read(number)
    lines = data.split(b"\n")
    if lines.pop():
        log.warning("the last line of '%s' is torn (its writer was killed): left out", files.path(number))
    for at, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise StorageError(
                f"'{files.path(number)}' line {at} is damaged ({error}): remove the job's folder"
            ) from error


def _replaced(path: Path) -> StorageError:
    return StorageError(f"'{path}' has a successor: another driver of this job took over")
