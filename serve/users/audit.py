"""Who did what and when: a line of JSON per request, without prompts, photos, answers, names of concepts or keys.

{"time": "...", "request": "...", "user": "<id>", "key": "<id>", "method": "POST", "action": "create_chat_completion",
 "status": 200, "ms": 41, "bytes": 512, ...}
"""

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unictokens.atomic import storage_error

FILE = "audit.jsonl"


class Audit:
    """Appends to `folder`/audit.jsonl; at `size` bytes the file becomes audit.1.jsonl, of which `kept` remain."""

    def __init__(self, folder: Path, size: int = 16 * 2**20, kept: int = 8) -> None:
        self._path = folder / FILE
        self._size = size
        self._kept = kept
        self._writing = threading.Lock()

    def write(self, **fields: Any) -> None:
        """One line, flushed. Raises StorageError."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}) + "\n"
        try:
            with self._writing:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                if self._path.exists() and self._path.stat().st_size + len(line) > self._size:
                    self._rotate()
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(descriptor, line.encode())
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise storage_error(error, self._path) from error

    def _rotate(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                os.replace(older, self._numbered(number + 1))
        os.replace(self._path, self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"audit.{number}.jsonl")
