"""Files and folders that appear whole or not at all: written under a temporary name, synced, renamed.

A reader never sees a half-written file, and whatever goes wrong leaves no temporary behind. Temporary names start with
a dot, so listings that skip hidden names skip the leftovers of a killed process too.
"""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unictokens.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
TAKEN = (errno.EEXIST, errno.ENOTEMPTY)


def storage_error(error: OSError, path: Path | str, doing: str = "write") -> StorageError:
    """The one-line StorageError for an operating-system error at `path`."""
    if error.errno in FULL:
        return StorageError(f"cannot {doing} '{path}': the disk is full; free some space and try again")
    if error.errno in FORBIDDEN:
        return StorageError(f"cannot {doing} '{path}': no permission; choose another folder or change its rights")
    return StorageError(f"cannot {doing} '{path}' ({error.strerror or error}): check the path")


def write_bytes(path: Path, data: bytes) -> None:
    """Write or replace one file atomically; its folder is made if missing.

    Raises StorageError (disk full, no permission, ...); then the old file, if there was one, is untouched.
    """
    _appear(path, data, os.replace)


def create_bytes(path: Path, data: bytes) -> bool:
    """Write a file that must not exist yet, atomically; False when it does: of several who try, exactly one succeeds.

    Raises StorageError for anything else.
    """
    taken = False

    def link(temporary: Path, path: Path) -> None:
        # A hard link refuses a taken name also on NFS, and the file has all its bytes when the name appears.
        nonlocal taken
        try:
            os.link(temporary, path)
        except FileExistsError:
            taken = True

    _appear(path, data, link)
    return not taken


def _appear(path: Path, data: bytes, put: Callable[[Path, Path], None]) -> None:
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: its private file mode would survive the rename and shut other users' processes out.
        temporary = path.parent / f".{path.name[:80]}.{secrets.token_hex(6)}.tmp"
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        put(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically. Raises StorageError."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """`value` as indented UTF-8 JSON."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `path` when the block ends without error, else it is removed.

    `path` must not exist or be an empty folder. Raises StorageError, also when somebody else took `path` meanwhile.
    """
    with building_folder(path.parent) as folder:
        yield folder
        if not claim(folder, path):
            raise StorageError(f"folder '{path}' already exists and is not empty: choose another name or remove it")


@contextmanager
def building_folder(parent: Path) -> Iterator[Path]:
    """A temporary folder inside `parent`; what `claim` has not moved away by the end of the block is removed.

    Raises StorageError when it cannot be made; operating-system errors inside the block become StorageError too.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = parent / f".new-{secrets.token_hex(6)}"
        folder.mkdir()
    except OSError as error:
        raise storage_error(error, parent) from error
    try:
        yield folder
    except OSError as error:
        raise storage_error(error, Path(error.filename) if isinstance(error.filename, str) else parent) from error
    finally:
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


def claim(folder: Path, path: Path) -> bool:
    """Sync a filled folder and rename it to `path`; False when `path` exists and is not empty.

    Of several processes that claim one path, exactly one succeeds. Raises StorageError for anything else.
    """
    try:
        for inner, _, names in os.walk(folder):
            for name in names:
                _sync_file(Path(inner, name))
            _sync_folder(Path(inner))
        os.rename(folder, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        raise storage_error(error, path) from error
    return True


def remove_folder(path: Path) -> None:
    """Make a folder disappear at once (renamed out of sight), then delete it. Raises StorageError."""
    try:
        hidden = path.parent / f".gone-{secrets.token_hex(6)}"
        os.rename(path, hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise storage_error(error, path, "remove") from error


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    # A rename survives a power cut only once the folder that holds the name is on disk.
    _sync_file(path)
