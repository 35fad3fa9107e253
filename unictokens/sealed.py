"""Safetensors files that say what they are and notice a flipped bit: tensors, one text about them, one checksum over both.

The metadata has a single entry "sealed" (safetensors writes several in no fixed order, and equal content shall be an
equal file): JSON with the text under "about" and a SHA-256 under "sha256".
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from unictokens.atomic import storage_error, write_bytes
from unictokens.errors import StorageError
from unictokens.storage.base import Place

ENTRY = "sealed"


def save_sealed(path: Path, tensors: Mapping[str, Tensor], about: str) -> None:
    """Write `seal(tensors, about)` atomically. Raises StorageError when the disk refuses."""
    write_bytes(path, seal(tensors, about))


def seal(tensors: Mapping[str, Tensor], about: str) -> bytes:
    """The file of tensors (contiguous, on the CPU) and a text."""
    entry = {"about": about, "sha256": _digest(about, tensors)}
    return save(dict(tensors), {ENTRY: json.dumps(entry)})


def load_sealed(path: Path, what: str, mend: str) -> tuple[dict[str, Tensor], str]:
    """Tensors and text of a file that `save_sealed` wrote. Raises as `unseal` does, StorageError for a missing file too."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise storage_error(error, path, "read") from error
    return unseal(data, path, what, mend)


def unseal(data: bytes, place: Place, what: str, mend: str) -> tuple[dict[str, Tensor], str]:
    """Tensors and text of what `seal` made, read at `place`.

    Raises StorageError for a damaged or foreign file; it calls the file `what` and says to `mend` it.
    """
    try:
        tensors = load(data)
        # The header is a little-endian length and JSON; `safe_open` would read the file a second time.
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        sealed = json.loads(header.get("__metadata__", {}).get(ENTRY, "{}"))
        about, digest = sealed["about"], sealed["sha256"]
        if not isinstance(about, str):
            raise ValueError("its description is no text")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise StorageError(f"'{place}' is damaged or not a {what} ({reason}): {mend}") from error
    if digest != _digest(about, tensors):
        raise StorageError(f"'{place}' is damaged (it does not match its checksum): {mend}")
    return tensors, about


def _digest(about: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
