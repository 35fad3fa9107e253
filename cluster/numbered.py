"""Numbered files: `<stem>-000001<suffix>`, `...2`, ...; of all who try to make the next one, exactly one succeeds.

The one primitive that leases and journals stand on: a file that appears whole, only if nobody made it before. Local disks
and NFS have it as a hard link; object stores as a put that fails if the name is taken.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from unictokens.atomic import create_bytes, storage_error


@dataclass(frozen=True)
class Numbered:
    """The files of one stem in one folder; the newest one counts."""

    folder: Path
    stem: str
    suffix: str

    def path(self, number: int) -> Path:
        """The file of a number."""
        return self.folder / f"{self.stem}-{number:06d}{self.suffix}"

    def newest(self) -> int:
        """The highest number there is, 0 for none. Raises StorageError."""
        return max(self._numbers(), default=0)

    def create(self, number: int, data: bytes) -> bool:
        """Make a file that was not there; False when somebody else made it. Raises StorageError."""
        return create_bytes(self.path(number), data)

    def read(self, number: int) -> bytes | None:
        """The bytes of a file, None when it is gone. Raises StorageError."""
        path = self.path(number)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, path, "read") from error

    def drop_before(self, number: int) -> None:
        """Remove files of lower numbers. The newest is never removed: numbers are not given twice."""
        for old in self._numbers():
            if old < number:
                self.path(old).unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        pattern = re.compile(rf"{re.escape(self.stem)}-(\d{{6,}}){re.escape(self.suffix)}")
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error(error, self.folder, "read") from error
        return [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
