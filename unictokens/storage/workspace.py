"""Where a run works: a local folder, whose files are brought to a bucket whenever a new state is complete.

A run writes dozens of small files, appends to some and looks at them again; a bucket offers whole objects and one request at
a time. So it always works in a folder of this machine. On a local output that is the place itself; behind a URL it is a scratch
copy: fetched when the run is opened, pushed whenever its state is saved, forgotten at the end.

The order of a push keeps the rule of the local folder, that a checkpoint never knows more than the history beside it: first
what records were written, then checkpoints from old to new, last of all what is no longer needed goes. A push that breaks off
leaves the state of before or the new one.
"""

import atexit
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unictokens.atomic import storage_error, write_bytes
from unictokens.storage.base import Storage

LAST = "checkpoints/"
NOT_FETCHED = (".png", ".lease")
"""Pictures are looked at by people, leases are of those who train: a run that goes on never reads them."""

_Stamp = tuple[int, int, int]


class Workspace(Protocol):
    """A run's folder."""

    @property
    def folder(self) -> Path:
        """Where the run reads and writes."""
        ...

    def push(self) -> None:
        """What is in the folder now shall last. Raises StorageError."""
        ...

    def drop(self) -> None:
        """Let go of what is only scratch, without pushing: the run is over, or somebody else's."""
        ...


@dataclass(frozen=True)
class LocalWorkspace:
    """A folder that lasts by itself."""

    folder: Path

    def push(self) -> None:
        """Nothing to do: files are on disk when they are written."""

    def drop(self) -> None:
        """Nothing to let go of."""


class MirroredWorkspace:
    """A scratch folder with the files that a storage has under `prefix`, and keeps there.

    Raises StorageError when they cannot be fetched.
    """

    def __init__(self, folder: Path, storage: Storage, prefix: str) -> None:
        self.folder = folder
        self._storage = storage
        self._prefix = prefix
        self._kept: dict[str, _Stamp | None] = {}
        self._fetch()

    def _fetch(self) -> None:
        # What an earlier run of this process left here may be older than what another machine has written since.
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in self._storage.list(self._prefix):
            if name.endswith(NOT_FETCHED):
                continue
            data = self._storage.read(name)
            if data is not None:
                local = name.removeprefix(f"{self._prefix}/")
                write_bytes(self.folder / local, data)
                self._kept[local] = self._stamp(local)

    def push(self) -> None:
        stamps = {name: stamp for name in self._names() if (stamp := self._stamp(name)) is not None}
        changed = [name for name, stamp in stamps.items() if stamp != self._kept.get(name)]
        for name in sorted(changed, key=lambda name: (name.startswith(LAST), name)):
            self._storage.write(f"{self._prefix}/{name}", self._read(name))
            self._kept[name] = stamps[name]
        for name in sorted(set(self._kept) - set(stamps)):
            self._storage.remove(f"{self._prefix}/{name}")
            del self._kept[name]

    def drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _names(self) -> list[str]:
        found = (path for path in self.folder.rglob("*") if path.is_file())
        names = (path.relative_to(self.folder).as_posix() for path in found)
        return [name for name in names if not any(part.startswith(".") for part in name.split("/"))]

    def _stamp(self, name: str) -> _Stamp | None:
        path = self.folder / name
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, path, "read") from error
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self, name: str) -> bytes:
        path = self.folder / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise storage_error(error, path, "read") from error


@functools.cache
def scratch() -> Path:
    """A folder of this process for copies of what a bucket keeps; it goes when the process ends. Raises StorageError."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="unictokens-"))
    except OSError as error:
        raise storage_error(error, tempfile.gettempdir()) from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
