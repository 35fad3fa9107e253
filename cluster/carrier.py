"""Brings files of this machine to a bucket while somebody writes them: a lane's log and its own entry, which no run carries."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from unictokens.errors import StorageError
from unictokens.output import Output
from unictokens.storage.base import Storage

log = logging.getLogger(__name__)

CARRY_SECONDS = 10.0


class Carrier:
    """Copies files below a local folder to the same names in a storage, again whenever they changed."""

    def __init__(self, folder: Path, storage: Storage, names: Sequence[str]) -> None:
        """
        names  of files, and of folders with all that is in them, relative to both
        """
        self._folder = folder
        self._storage = storage
        self._names = names
        self._carried: dict[str, tuple[int, int]] = {}

    def carry(self) -> None:
        """Once. What a bucket refuses is brought the next time: nobody shall lose a lane because its log is late."""
        try:
            for path in self._files():
                status = path.stat()
                stamp, name = (status.st_mtime_ns, status.st_size), path.relative_to(self._folder).as_posix()
                if self._carried.get(name) != stamp:
                    self._storage.write(name, path.read_bytes())
                    self._carried[name] = stamp
        except (StorageError, OSError) as error:
            log.warning("%s; trying again", error)

    def _files(self) -> Iterator[Path]:
        for path in (self._folder / name for name in self._names):
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            yield from (each for each in inside if each.is_file() and not each.name.startswith("."))


@contextmanager
def carried(output: Output, names: Sequence[str], every: float = CARRY_SECONDS) -> Iterator[None]:
    """While the block runs, and at its end, bring these files of `output.local` to the output. A folder needs none of that."""
    if isinstance(output.root, Path):
        yield
        return
    carrier, over = Carrier(output.local, output.storage, names), threading.Event()

    def again() -> None:
        carrier.carry()  # whoever is killed soon has begun a log
        while not over.wait(every):
            carrier.carry()

    thread = threading.Thread(target=again, name="carrier", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        carrier.carry()
