"""Tracking into plain files, always on: one line of JSON per event beside the run it belongs to.

    <folder>/events.jsonl    {"time": ..., "event": "metrics", "step": 40, "values": {...}}

Of pictures only name and step are noted: whoever makes them keeps them in the run's folder already (previews, perception).
The file is only appended to. A process that dies while writing leaves at most one torn last line, which the next one closes
and readers skip.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from unictokens.atomic import storage_error
from unictokens.tracking.base import Status

log = logging.getLogger(__name__)

EVENTS_FILE = "events.jsonl"


class JsonlTracker:
    """Appends the events of one run to `folder`/events.jsonl, each flushed at once. Raises StorageError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / EVENTS_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            written = self._path.read_bytes() if self._path.exists() else b""
            self._file = self._path.open("a", encoding="utf-8")
            if written and not written.endswith(b"\n"):
                self._file.write("\n")
        except OSError as error:
            raise storage_error(error, self._path) from error

    def params(self, values: Mapping[str, Any]) -> None:
        self._write("params", values=dict(values))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._write("metrics", step=step, values=dict(values))

    def image(self, name: str, step: int, picture: Image.Image) -> None:
        self._write("image", step=step, name=name, size=list(picture.size))

    def artifact(self, path: Path) -> None:
        self._write("artifact", file=path.name)

    def close(self, status: Status) -> None:
        self._write("close", status=status)
        self._file.close()

    def _write(self, event: str, **fields: Any) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        try:
            self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            self._file.flush()
        except OSError as error:
            raise storage_error(error, self._path) from error


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The events of a run in order; a torn line is skipped and logged. Raises StorageError when the file is missing."""
    path = folder / EVENTS_FILE
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise storage_error(error, path, "read") from error
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            log.warning("'%s' line %d is torn (its writer was killed): skipped", path, number)
    return events
