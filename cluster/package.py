"""This project as one zip file, for the nodes of a cluster: its packages with their assets, and nothing else of the folder.

The same files give the same bytes, whoever packs them and when: Ray names an upload by its content, so that the second job
of an unchanged project uploads nothing.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from unictokens.atomic import storage_error

ROOMS = ("unictokens", "cluster", "serve", "tune_spaces")
"""The packages of the house."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)
READABLE = 0o644 << 16
MOST_BYTES = 512 * 2**20
"""What a Ray cluster accepts as a package unless its administrator raised it."""


def packed(extra: Mapping[str, bytes] | None = None) -> bytes:
    """The zip file; `extra` are more files by name, beside the packages. Raises StorageError for an unreadable file."""
    buffer = io.BytesIO()
    # Weights and pictures are most of it, and do not shrink.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, file in _files():
            try:
                content = file.read_bytes()
            except OSError as error:
                raise storage_error(error, file, "read") from error
            archive.writestr(_entry(name), content)
        for name, content in sorted((extra or {}).items()):
            archive.writestr(_entry(name), content)
    return buffer.getvalue()


def _files() -> Iterator[tuple[str, Path]]:
    """Name in the archive and file, in order; without hidden files and compiled ones."""
    for room in ROOMS:
        spec = find_spec(room)
        if spec is None or not spec.submodule_search_locations:
            continue
        folder = Path(next(iter(spec.submodule_search_locations)))
        for file in sorted(folder.rglob("*")):
            parts = file.relative_to(folder).parts
            if file.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
                yield "/".join((room, *parts)), file


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, LONG_AGO)
    entry.external_attr = READABLE
    return entry
