"""Tracking into plain files, always on: one line of JSON per event beside the run it belongs to.

    <folder>/events.jsonl    {"seq": 7, "time": ..., "event": "metrics", "step": 40, "values": {...}}
    <folder>/attached/       copies of files from elsewhere

The file is only appended to, so that it is also the spool from which an uploader fills a server, then or years later.
Pictures and files are named relative to the folder; what lies elsewhere is copied, because it may change before it is sent.
A process that dies while writing leaves at most one torn last line, which the next one closes and readers skip.
"""

import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unictokens.atomic import storage_error, write_bytes
from unictokens.tracking.base import Ancestor, Entry, Status

log = logging.getLogger(__name__)

EVENTS_FILE = "events.jsonl"
ATTACHED = "attached"
TRIALS = ("sweep", "table")
"""Kinds of entries whose runs try something out: what they publish is not for the registry of a server."""
TAIL_BYTES = 1 << 20
"""More than the longest line: where the last one is looked for."""


class JsonlTracker:
    """Appends the events of one run to `folder`/events.jsonl, each flushed at once. Raises StorageError.

    entry  what the run is; without, its events cannot be sent to a server
    above  for entries that are to be nested in this one
    """

    above: tuple[Ancestor, ...] = ()

    def __init__(self, folder: Path, entry: Entry | None = None) -> None:
        self._folder = folder
        self._path = folder / EVENTS_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+b")
            # Held as long as this process lives: how others see that a run without an end will get none.
            _share(self._file.fileno())
            spool, tail = self._written()
            if tail and not tail.endswith(b"\n"):
                self._file.write(b"\n")
        except OSError as error:
            raise storage_error(error, self._path) from error
        self._seq = _last_seq(tail) + 1
        if entry is not None:
            spool = spool or entry.spool or secrets.token_hex(16)
            own = Ancestor(spool, entry.name, dict(entry.tags), int(time.time() * 1000))
            above = [asdict(one) for one in entry.above]
            self._write("begin", spool=spool, name=own.name, tags=own.tags, above=above)
            self.above = (*entry.above, own)

    def params(self, values: Mapping[str, Any]) -> None:
        self._write("params", values=dict(values))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._write("metrics", step=step, values=dict(values))

    def image(self, name: str, step: int, file: Path) -> None:
        self._write("image", step=step, name=name, file=self._kept(file))

    def artifact(self, path: Path) -> None:
        self._write("artifact", file=self._kept(path))

    def published(self, concept: str, version: int, bundle: Path) -> None:
        if any(one.tags.get("kind") in TRIALS for one in self.above):
            self.artifact(bundle)
            return
        self._write("published", concept=concept, version=version, file=self._kept(bundle))

    def close(self, status: Status) -> None:
        self._write("close", status=status)
        try:
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise storage_error(error, self._path) from error

    def _kept(self, file: Path) -> str:
        """A file's name relative to the folder; one from elsewhere is copied in."""
        if file.is_relative_to(self._folder):
            return file.relative_to(self._folder).as_posix()
        try:
            data = file.read_bytes()
        except OSError as error:
            raise storage_error(error, file, "read") from error
        write_bytes(self._folder / ATTACHED / str(self._seq) / file.name, data)
        return f"{ATTACHED}/{self._seq}/{file.name}"

    def _written(self) -> tuple[str, bytes]:
        """Of an earlier writer: the spool's mark, and the end of the file."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        first = self._file.readline(TAIL_BYTES)
        self._file.seek(max(0, size - TAIL_BYTES))
        return str(_parsed(first).get("spool", "")), self._file.read()

    def _write(self, event: str, **fields: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"seq": self._seq, "time": now, "event": event, **fields}
        try:
            self._file.write(json.dumps(line, ensure_ascii=False, default=_words).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise storage_error(error, self._path) from error
        self._seq += 1


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The events of a run in order; a torn line is skipped and logged. Raises StorageError when the file is missing."""
    path = folder / EVENTS_FILE
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise storage_error(error, path, "read") from error
    events = []
    for number, line in enumerate(lines, start=1):
        event = _parsed(line.encode())
        if event:
            events.append(event)
        elif line:
            log.warning("'%s' line %d is torn (its writer was killed): skipped", path, number)
    return events


def writer_lives(folder: Path) -> bool:
    """Whether some process still has the events of a run open for writing."""
    try:
        with (folder / EVENTS_FILE).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Held, or a disk without locks: then nobody is declared dead.
        return True
    return False


def _share(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        log.warning("this disk keeps no locks (%s): runs of killed processes will not be closed by themselves", error)


def _words(value: Any) -> str:
    # A setting that has no words costs itself, not the run.
    try:
        return str(value)
    except Exception as error:
        log.warning("a value of type %s is not tracked: %s", type(value).__name__, error)
        return f"<{type(value).__name__}>"


def _parsed(line: bytes) -> dict[str, Any]:
    """An event, or nothing where there is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _last_seq(tail: bytes) -> int:
    for line in reversed(tail.splitlines()):
        seq = _parsed(line).get("seq")
        if isinstance(seq, int):
            return seq
    return -1
