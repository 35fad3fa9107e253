"""Events that wait on disk for a server: which folders have some, what they say, and how far each was sent.

    <out>/<folder>/events.jsonl               the events of a run, a job or a lane (`unictokens.tracking.jsonl`)
    <out>/tracking/waiting/<mark>             one small file per folder that may have unsent events: {"folder", "host"}
    <out>/tracking/sent/<server>/<mark>.json  how far the folder was sent to this server, and as which run

Several uploaders, on several machines, may work on one output folder: each takes a spool under a lock of its own and reads
afresh how far it was sent. A lost or damaged record of that costs nothing but work: whatever is sent can be sent twice.
"""

import fcntl
import hashlib
import json
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from unictokens.atomic import storage_error, write_bytes
from unictokens.tracking.base import Entry
from unictokens.tracking.jsonl import EVENTS_FILE, JsonlTracker

log = logging.getLogger(__name__)

TRACKING = "tracking"
READ_BYTES = 1 << 20
DIGITS = 16


@dataclass(frozen=True)
class Event:
    """One line of a spool. `time` in milliseconds since 1970, `end` is the byte after the line."""

    seq: int
    time: int
    kind: str
    values: dict[str, Any]
    end: int


@dataclass(frozen=True)
class Cursor:
    """How far a spool was sent to one server.

    spool    the spool's own mark; another one means that the file was begun anew
    run      the server's name for the run
    offset   bytes that are acknowledged
    status   how the run ended, as the server knows it; "" while it goes on
    last     of each metric the last step and value, by which repeated epochs are known
    refused  events that the server will never take
    """

    spool: str = ""
    run: str = ""
    offset: int = 0
    status: str = ""
    last: dict[str, tuple[int, float]] = field(default_factory=dict)
    refused: int = 0


@dataclass(frozen=True)
class Left:
    """What a server does not have: events that are still on disk, their runs, and why; and events that it refused."""

    events: int = 0
    runs: int = 0
    refused: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Spool:
    """The events of one folder."""

    folder: Path

    @property
    def size(self) -> int:
        """Bytes written so far; 0 without a file."""
        try:
            return (self.folder / EVENTS_FILE).stat().st_size
        except OSError:
            return 0

    @property
    def beginning(self) -> Event | None:
        """The first event that says what this is; None where there is none in the first megabyte. Raises StorageError."""
        path, end = self.folder / EVENTS_FILE, 0
        try:
            with path.open("rb") as file:
                while end < READ_BYTES and (line := file.readline()).endswith(b"\n"):
                    end += len(line)
                    event = _event(line, end)
                    if event is not None and event.kind == "begin":
                        return event
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, path, "read") from error
        return None

    @property
    def heard(self) -> float:
        """When something was last written, seconds since 1970. Raises StorageError."""
        path = self.folder / EVENTS_FILE
        try:
            return path.stat().st_mtime
        except OSError as error:
            raise storage_error(error, path, "read") from error

    def read(self, offset: int) -> tuple[list[Event], int]:
        """Whole lines from a byte on, a megabyte or one line, and the byte after them. Raises StorageError."""
        path = self.folder / EVENTS_FILE
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(READ_BYTES)
                if b"\n" not in data:
                    data += file.readline()
        except OSError as error:
            raise storage_error(error, path, "read") from error
        data = data[: data.rfind(b"\n") + 1]
        events, end = [], offset
        for line in data.splitlines(keepends=True):
            end += len(line)
            event = _event(line, end)
            if event is not None:
                events.append(event)
            elif line.strip():
                log.warning("'%s': a torn line before byte %d is skipped (its writer was killed)", path, end)
        return events, end


@dataclass(frozen=True)
class Spools:
    """All spools of an output folder."""

    root: Path

    def tracker(self, folder: Path, entry: Entry, waiting: bool = True) -> JsonlTracker:
        """A tracker that writes into `folder`, somewhere below the root.

        waiting  whether somebody is to send what it writes; else it stays on disk until it is asked for
        """
        tracker = JsonlTracker(folder, entry)
        if waiting:
            self.mark(self.key(folder))
        return tracker

    def entry(self, name: str) -> Path:
        """Where an entry without a folder of its own (a job, a lane) keeps its events."""
        return self.root / TRACKING / "entries" / name

    def key(self, folder: Path) -> str:
        """A folder's name in this class's other methods: relative to the root."""
        return folder.absolute().relative_to(self.root.absolute()).as_posix()

    def spool(self, key: str) -> Spool:
        """The spool of a folder."""
        return Spool(self.root / key)

    def mark(self, key: str) -> None:
        """Note that a folder has unsent events. Raises StorageError."""
        write_bytes(self._mark(key), json.dumps({"folder": key, "host": socket.gethostname()}).encode())

    def unmark(self, key: str) -> None:
        """Nothing waits in this folder any more."""
        self._mark(key).unlink(missing_ok=True)

    def waiting(self) -> list[tuple[str, str]]:
        """Folders that may have unsent events, and the host that wrote them, in a stable order."""
        found = []
        folder = self.root / TRACKING / "waiting"
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
            try:
                mark = json.loads(path.read_bytes())
                found.append((str(mark["folder"]), str(mark["host"])))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # sent and removed by another uploader meanwhile
        return found

    def all(self) -> list[str]:
        """All folders below the root that have events."""
        return sorted(self.key(path.parent) for path in self.root.rglob(EVENTS_FILE))

    def cursor(self, server: str, key: str) -> Cursor:
        """How far a folder was sent to a server; a damaged record counts as none, since sending twice does no harm."""
        path = self._sent(server, key)
        try:
            found = json.loads(path.read_bytes())
            last = {name: (int(step), float(value)) for name, (step, value) in found.pop("last").items()}
            return Cursor(**{one.name: found[one.name] for one in fields(Cursor) if one.name != "last"}, last=last)
        except FileNotFoundError:
            return Cursor()
        except OSError as error:
            raise storage_error(error, path, "read") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("'%s' is damaged (%s): its events are sent again, which doubles nothing", path, error)
            return Cursor()

    def standing(self, server: str, key: str) -> Cursor:
        """The same, from the start where the folder's file was begun anew since."""
        cursor, spool = self.cursor(server, key), self.spool(key)
        begin = spool.beginning
        mark = str(begin.values.get("spool", "")) if begin else ""
        return cursor if cursor.spool == mark and cursor.offset <= spool.size else Cursor(mark)

    def left(self, server: str, keys: Sequence[str]) -> Left:
        """What of these folders a server does not have."""
        events, runs, refused = 0, 0, 0
        for key in keys:
            cursor, spool = self.standing(server, key), self.spool(key)
            found, end = spool.read(cursor.offset) if spool.size else ([], 0)
            count = len(found)
            while found:
                found, end = spool.read(end)
                count += len(found)
            events, runs, refused = events + count, runs + (count > 0), refused + cursor.refused
        return Left(events, runs, refused)

    def keep_cursor(self, server: str, key: str, cursor: Cursor) -> None:
        """Remember how far a folder was sent. Raises StorageError."""
        write_bytes(self._sent(server, key), json.dumps(asdict(cursor)).encode())

    def forget(self, server: str) -> None:
        """Forget what was sent to a server. Raises StorageError."""
        for path in self._sent(server, "").parent.glob("*.json"):
            try:
                path.unlink()
            except OSError as error:
                raise storage_error(error, path, "remove") from error

    @contextmanager
    def claimed(self, server: str, key: str) -> Iterator[bool]:
        """Hold a folder for sending; False when another uploader has it."""
        with locked(self._sent(server, key).with_suffix(".lock")) as held:
            yield held

    def forget_lock(self, server: str, key: str) -> None:
        """Remove the lock of a folder that this process holds and that needs none any more."""
        self._sent(server, key).with_suffix(".lock").unlink(missing_ok=True)

    def _mark(self, key: str) -> Path:
        return self.root / TRACKING / "waiting" / f"{_short(key)}.json"

    def _sent(self, server: str, key: str) -> Path:
        return self.root / TRACKING / "sent" / server_mark(server) / f"{_short(key)}.json"


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`, which ends with the process at the latest; False when somebody has it already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise storage_error(error, path) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed the file, and somebody else may have made it anew.
            held = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
        except (BlockingIOError, FileNotFoundError):
            held = False
        except OSError as error:
            raise storage_error(error, path, "lock") from error
        yield held


def server_mark(server: str) -> str:
    """A server's address as a file name; the address itself may hold a password."""
    return hashlib.sha256(server.encode()).hexdigest()[:DIGITS]


def _short(key: str) -> str:
    """A folder as a file name: readable, and its own."""
    return f"{key.rpartition('/')[2][:80]}-{hashlib.sha256(key.encode()).hexdigest()[:DIGITS]}"


def _event(line: bytes, end: int) -> Event | None:
    try:
        values = json.loads(line)
        time = int(datetime.fromisoformat(values.pop("time")).timestamp() * 1000)
        return Event(int(values.pop("seq")), time, str(values.pop("event")), values, end)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
