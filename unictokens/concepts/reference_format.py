"""The UniCTokens authors' files: `epoch_<E>_embed.pt`, `epoch_<E>_lm_head_weight.pt`, `epoch_<E>_lm_head_bias.pt`.

Each is one bare float32 tensor, [R, D], [R, D] and [R], rows in layout order (R = 17, 25 or 33 for 16/8/8), written by
`torch.save`. They say nothing else, so the layout must be known. Reading never unpickles anything but tensors.
"""

import io
import os
import pickle
import re
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._utils import _rebuild_tensor_v2

from unictokens.atomic import storage_error, write_bytes
from unictokens.concepts.bundle import present_groups
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError, StorageError

PARTS = ("embed", "lm_head_weight", "lm_head_bias")
DEVICE_TAG = "cuda:0"
"""The device the published files name; the published scripts load them without a device of their own."""
_FIRST = re.compile(r"epoch_(\d+)_embed\.pt")


def find_epochs(folder: Path) -> list[int]:
    """Epochs whose three files are in `folder`, ascending. Raises StorageError for an unreadable folder."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise storage_error(error, folder, "read") from error
    epochs = sorted(int(match.group(1)) for name in names if (match := _FIRST.fullmatch(name)))
    return [epoch for epoch in epochs if {file.name for file in triple(folder, epoch)} <= names]


def triple(folder: Path, epoch: int) -> tuple[Path, Path, Path]:
    """The three files of an epoch: embeddings, head weights, head biases."""
    embed, head, bias = (folder / f"epoch_{epoch}_{part}.pt" for part in PARTS)
    return embed, head, bias


def import_triple(folder: Path, epoch: int, layout: TokenLayout) -> ConceptTokens:
    """Rows from the authors' three files, float32 on the CPU.

    Raises StorageError for a missing or damaged file, ConceptError for anything but three float32 tensors whose rows
    end where a group of `layout` ends.
    """
    tokens = ConceptTokens(layout, *(_read(path, 2 - at // 2) for at, path in enumerate(triple(folder, epoch))))
    present_groups(tokens)
    return tokens


def export_triple(tokens: ConceptTokens, folder: Path, epoch: int, device: str = DEVICE_TAG) -> tuple[Path, Path, Path]:
    """Write the authors' three files, which the published scripts read as their own; returns the paths.

    `device` is the device the files ask to be loaded to. With the default, files that were imported and not changed come
    out byte for byte as they were published. Use "cpu" for readers without a GPU that pass no device to `torch.load`.
    Raises StorageError when the disk refuses, ConceptError for rows that end inside a group.
    """
    present_groups(tokens)
    paths = triple(folder, epoch)
    try:
        archives = [
            _archive(path.name, tensor.detach().to("cpu", torch.float32).contiguous(), device)
            for path, tensor in zip(paths, tokens.tensors(), strict=True)
        ]
    except OSError as error:
        raise storage_error(error, Path(tempfile.gettempdir())) from error
    for path, archive in zip(paths, archives, strict=True):
        write_bytes(path, archive)
    return paths


def _read(path: Path, dimensions: int) -> Tensor:
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise StorageError(f"'{path}' is damaged or holds more than a tensor ({reason}): copy it again") from error
    if not isinstance(value, Tensor) or value.dtype != torch.float32 or value.ndim != dimensions:
        shown = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ConceptError(f"'{path}' holds {shown}, not a float32 tensor of {dimensions} dimension(s): check the file")
    if not torch.isfinite(value).all():
        raise ConceptError(f"'{path}' holds non-finite numbers: choose another epoch")
    return value.contiguous()


class _Described:
    """Stands for a tensor while its description is pickled, as `torch.save` pickles the tensor itself."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        storage = _Storage(self.tensor.numel())
        arguments = (storage, 0, tuple(self.tensor.shape), self.tensor.stride(), False, OrderedDict())
        return _rebuild_tensor_v2, arguments


class _Storage:
    """Stands for the numbers of a tensor, which lie beside the description in the archive."""

    def __init__(self, count: int) -> None:
        self.count = count


class _DescriptionPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, device: str) -> None:
        super().__init__(file, protocol=2)
        self.device = device

    def persistent_id(self, obj: Any) -> Any:
        return ("storage", torch.FloatStorage, "0", self.device, obj.count) if isinstance(obj, _Storage) else None


def _archive(name: str, tensor: Tensor, device: str) -> bytes:
    # `torch.save` would name the device the tensor is on and, in newer versions, add records that the published files
    # lack. Its own archive writer, given the published records in their order, gives the published bytes.
    description = io.BytesIO()
    _DescriptionPickler(description, device).dump(_Described(tensor))
    numbers = tensor.numpy().tobytes()
    # The writer puts the file's name into the archive, so it needs a path, and it aborts the whole process when the disk is
    # full, so that path leads into memory.
    with tempfile.TemporaryDirectory() as folder, open(os.memfd_create(name), "rb") as memory:
        path = Path(folder) / name
        path.symlink_to(f"/proc/self/fd/{memory.fileno()}")
        writer = torch._C.PyTorchFileWriter(str(path))
        for record, data in (("data.pkl", description.getvalue()), ("byteorder", b"little"), ("data/0", numbers)):
            writer.write_record(record, data, len(data))
        writer.write_end_of_file()
        return memory.read()
