"""Numbered files: `<stem>-000001<suffix>`, `...2`, ...; of all who try to make the next one, exactly one succeeds.

The one primitive that leases and journals stand on: a file that appears whole, only if nobody made it before. Local disks
and NFS have it as a hard link; object stores as a put that fails if the name is taken. A file may have parts,
`<stem>-000001-000001<suffix>`, `...2`, ..., that belong to whoever made it and go with it: where nothing can be appended to a file,
they are what came later.
"""

import logging
import re
from dataclasses import dataclass
from functools import cached_property

from unictokens.errors import StorageError
from unictokens.storage.base import Place, Storage, join, open_storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Numbered:
    """The files of one stem in one place; the newest one counts."""

    place: Place
    stem: str
    suffix: str

    @cached_property
    def storage(self) -> Storage:
        """The place itself."""
        return open_storage(self.place)

    def name(self, number: int, part: int = 0) -> str:
        """The name of a file, or of a part of it."""
        return f"{self.stem}-{number:06d}{f'-{part:06d}' if part else ''}{self.suffix}"

    def where(self, number: int) -> Place:
        """The file of a number, as shown to users."""
        return join(self.place, self.name(number))

    def newest(self) -> int:
        """The highest number there is, 0 for none. Raises StorageError."""
        return max((number for number, part in self._numbers() if not part), default=0)

    def create(self, number: int, data: bytes) -> bool:
        """Make a file that was not there; False when somebody else made it. Raises StorageError."""
        return self.storage.create(self.name(number), data)

    def claim(self, number: int, data: bytes) -> bool:
        """The same for `data` that nobody else would write: a file that is ours, but whose making was asked for twice because
        the answer was lost on its way, is ours. Raises StorageError."""
        return self.create(number, data) or self.read(number) == data

    def read(self, number: int) -> bytes | None:
        """The bytes of a file, None when it is gone. Raises StorageError."""
        return self.storage.read(self.name(number))

    def write(self, number: int, data: bytes) -> None:
        """Replace a file that this process made. Raises StorageError."""
        self.storage.write(self.name(number), data)

    def write_part(self, number: int, part: int, data: bytes) -> None:
        """Make or replace a part, numbered from 1, of a file that this process made. Raises StorageError."""
        self.storage.write(self.name(number, part), data)

    def read_parts(self, number: int) -> list[bytes] | None:
        """The parts of a file in order, None when some of them are missing. Raises StorageError."""
        last = max((part for found, part in self._numbers() if found == number), default=0)
        read = [self.storage.read(self.name(number, part)) for part in range(1, last + 1)]
        whole = [data for data in read if data is not None]
        return whole if len(whole) == last else None

    def drop_before(self, number: int) -> None:
        """Remove files of lower numbers. The newest is never removed: numbers are not given twice."""
        try:
            # A file goes before its parts: whoever finds parts missing looks whether it is still there.
            for old, part in sorted(self._numbers()):
                if old < number:
                    self.storage.remove(self.name(old, part))
        except StorageError as error:
            # Only the newest counts. What was made just now must not seem to have failed.
            log.warning("%s: an old file stays", error)

    def _numbers(self) -> list[tuple[int, int]]:
        """(number, part) of all files; the part of a file itself is 0."""
        pattern = re.compile(rf"{re.escape(self.stem)}-(\d{{6,}})(?:-(\d{{6,}}))?{re.escape(self.suffix)}")
        matches = (pattern.fullmatch(name) for name in self.storage.list(deep=False))
        return [(int(match[1]), int(match[2] or 0)) for match in matches if match]
