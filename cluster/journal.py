"""A journal: everything that happened to something, as lines of JSON that are only ever appended to.

A journal is a series of numbered files. Each begins with everything that was known when it was begun, so that the newest alone
tells all; a writer that sees a later one than its own has been replaced and must end. Its last line may be torn (its writer
was killed): it is left out. In a bucket, what is appended are parts of an object (see `cluster.journal_tail`), which do not tear.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cluster.journal_tail import Tail, open_tail, patiently
from cluster.numbered import Numbered
from unictokens.errors import StorageError
from unictokens.storage.base import Place

log = logging.getLogger(__name__)

LEAST_LINES = 10_000
GROWTH = 3
"""A file that has this many times the lines it began with, and at least so many, is begun anew."""
CHECK_SECONDS = 2.0
"""Between two looks at a bucket for a successor: every look is a request."""
WRITER = "writer"
"""Key of the first line of a journal in a bucket, which nobody else would write and readers leave out."""

Record = dict[str, Any]


class Journal:
    """The writing end. A bucket that refuses is asked again for a minute, a disk is not."""

    def __init__(self, place: Place, stem: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = Numbered(place, stem, ".jsonl")
        self._local = isinstance(place, Path)
        self._patience = 0.0 if self._local else None
        self._clock = clock
        self._number = 0
        self._begun_with = 0
        self._lines = 0
        self._checked = float("-inf")
        self._tail: Tail | None = None

    @property
    def long(self) -> bool:
        """Whether it is time to begin the next file."""
        return self._lines - self._begun_with > max(LEAST_LINES, GROWTH * self._begun_with)

    def begin(self, records: Iterable[Record]) -> None:
        """Begin the next file with all that is known. Raises StorageError, also when somebody else did so meanwhile."""
        lines = [_line(record) for record in records]
        number = (self._number or patiently(self._files.newest, self._patience)) + 1
        if not self._made(number, lines):
            raise _replaced(self._files.where(number))
        if self._local:
            self.close()
        # Else what was not put yet is in the new beginning.
        self._tail = open_tail(self._files, number, self._clock)
        self._number, self._begun_with, self._lines = number, len(lines), len(lines)
        # One older file stays for whoever is reading it.
        self._files.drop_before(number - 1)

    def append(self, record: Record) -> None:
        """Add a line; on a disk it survives the death of this process, in a bucket after `sync`. Raises StorageError."""
        assert self._tail is not None, "begin the journal first"
        self._tail.write(_line(record))
        self._lines += 1

    def sync(self, older: float = 0.0) -> None:
        """See that what was appended, more than `older` seconds ago, survives the death of this process. Raises StorageError."""
        if self._tail is not None:
            self._tail.sync(older)

    def check(self) -> None:
        """Raises StorageError when somebody began a later file: this writer has been replaced."""
        if not self._local and self._clock() - self._checked < CHECK_SECONDS:
            return
        if patiently(self._files.newest, self._patience) != self._number:
            raise _replaced(self._files.where(self._number))
        self._checked = self._clock()

    def close(self) -> None:
        """Force what was written to the disk; nothing can be appended any more."""
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def _made(self, number: int, lines: list[bytes]) -> bool:
        if self._local:
            return self._files.create(number, b"".join(lines))
        data = b"".join([_line({WRITER: secrets.token_hex(8)}), *lines])
        return patiently(lambda: self._files.claim(number, data))


def read_journal(place: Place, stem: str) -> Iterator[Record]:
    """The records of the newest file, in order; none when there is none. Raises StorageError for a damaged one."""
    files = Numbered(place, stem, ".jsonl")
    found = None
    while found is None:
        number = files.newest()
        if number == 0:
            return
        found = _read(files, number)
    lines = found.split(b"\n")
    if lines.pop():
        log.warning("the last line of '%s' is torn (its writer was killed): left out", files.where(number))
    for at, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise StorageError(
                f"'{files.where(number)}' line {at} is damaged ({error}): remove the job's folder"
            ) from error
        if WRITER not in record:
            yield record


def _read(files: Numbered, number: int) -> bytes | None:
    """A file with its parts; None when it went away meanwhile, because there are newer ones."""
    data = files.read(number)
    if data is None or isinstance(files.place, Path):
        return data
    parts = files.read_parts(number)
    # A file goes before its parts: nothing was missed when it is still there.
    if files.storage.modified(files.name(number)) is None:
        return None
    if parts is None:
        raise StorageError(f"'{files.where(number)}' has lost a part of what came later: remove the job's folder")
    return b"".join([data, *parts])


def _line(record: Record) -> bytes:
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def _replaced(place: Place) -> StorageError:
    return StorageError(f"'{place}' has a successor: another driver of this job took over")
