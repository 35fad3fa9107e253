"""A folder of this machine, or of a network file system it mounts, as a storage."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from unictokens.atomic import create_bytes, storage_error, write_bytes


@dataclass(frozen=True)
class LocalStorage:
    """Files below `root`, written as `unictokens.atomic` writes them. See `Storage`; folders are made when needed."""

    root: Path

    def read(self, name: str) -> bytes | None:
        path = self.root / name
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise storage_error(error, path, "read") from error

    def write(self, name: str, data: bytes) -> None:
        write_bytes(self.root / name, data)

    def create(self, name: str, data: bytes) -> bool:
        return create_bytes(self.root / name, data)

    def list(self, under: str = "", deep: bool = True) -> tuple[str, ...]:
        found = []

        def refuse(error: OSError) -> None:
            # A folder that is not there, or that somebody removes meanwhile, holds nothing.
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise storage_error(error, self.root / under, "list") from error

        for folder, inner, names in os.walk(self.root / under, onerror=refuse):
            inner[:] = [name for name in inner if deep and not name.startswith(".")]
            relative = Path(folder).relative_to(self.root)
            found += [(relative / name).as_posix() for name in names if not name.startswith(".")]
        return tuple(sorted(found))

    def modified(self, name: str) -> float | None:
        path = self.root / name
        try:
            found = path.stat()
            return None if stat.S_ISDIR(found.st_mode) else found.st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise storage_error(error, path, "read") from error

    def remove(self, name: str) -> None:
        path = self.root / name
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise storage_error(error, path, "remove") from error
