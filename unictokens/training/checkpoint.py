"""The state of a run on disk, one small checksummed file per epoch, written atomically.

A file is `<stage number>-<stage>-<epoch>.safetensors`. A run keeps its last two, the end of every stage, any epoch that a later
stage continues from, and the best epoch of the last stage: that with the lowest mean total loss. A damaged file is set aside under `damaged-...` and the one before it is used.
"""

import json
import logging
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from unictokens.atomic import storage_error
from unictokens.errors import StorageError, TrainingError
from unictokens.sealed import load_sealed, save_sealed

log = logging.getLogger(__name__)

NAME = re.compile(r"(\d+)-([a-z_]+)-(\d{4,})\.safetensors")
KEPT_LAST = 2


@dataclass(frozen=True, order=True)
class Cursor:
    """How far a run is: stage number from 0, its name, and finished epochs of it (0 = rows are ready, none trained)."""

    number: int
    stage: str
    epoch: int

    @property
    def file(self) -> str:
        """File name of the checkpoint."""
        return f"{self.number}-{self.stage}-{self.epoch:04d}.safetensors"


@dataclass(frozen=True)
class Identity:
    """What a run learns from; state is only continued by a run of the same identity."""

    concept: str
    config_hash: str
    dataset_digest: str
    backbone: str


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A cursor and the tensors of `TrainedRows.state`."""

    cursor: Cursor
    tensors: dict[str, Tensor]


def save_checkpoint(folder: Path, identity: Identity, checkpoint: Checkpoint, keep: frozenset[tuple[int, int]]) -> None:
    """Write a checkpoint, then remove those no longer needed.

    keep  (stage number, epoch) pairs that stay for good
    Raises StorageError; what was there before is then untouched.
    """
    about = json.dumps({"identity": asdict(identity), "cursor": asdict(checkpoint.cursor)}, sort_keys=True)
    save_sealed(folder / checkpoint.cursor.file, checkpoint.tensors, about)
    for cursor in cursors(folder)[:-KEPT_LAST]:
        if (cursor.number, cursor.epoch) not in keep:
            try:
                (folder / cursor.file).unlink(missing_ok=True)
            except OSError as error:
                raise storage_error(error, folder / cursor.file, "remove") from error


def cursors(folder: Path) -> list[Cursor]:
    """Cursors of the checkpoints in `folder`, oldest first; empty when there is no folder."""
    if not folder.is_dir():
        return []
    try:
        found = [NAME.fullmatch(name) for name in sorted(os.listdir(folder))]
    except OSError as error:
        raise storage_error(error, folder, "read") from error
    return sorted(Cursor(int(match[1]), match[2], int(match[3])) for match in found if match)


def load_newest(folder: Path, identity: Identity) -> Checkpoint | None:
    """The newest intact checkpoint, or None; damaged ones are set aside and logged.

    Raises TrainingError when the folder belongs to a run of another identity.
    """
    for cursor in reversed(cursors(folder)):
        try:
            return load_checkpoint(folder, cursor, identity)
        except StorageError as error:
            aside = folder / f"damaged-{cursor.file}"
            log.warning("%s; set aside as '%s', using the one before", error, aside.name)
            try:
                os.replace(folder / cursor.file, aside)
            except OSError as refused:
                raise storage_error(refused, aside) from refused
    return None


def load_checkpoint(folder: Path, cursor: Cursor, identity: Identity) -> Checkpoint:
    """Read one checkpoint; StorageError when it is damaged, TrainingError when it belongs to another run."""
    path = folder / cursor.file
    tensors, about = load_sealed(path, "checkpoint", "remove it")
    try:
        written = Identity(**json.loads(about)["identity"])
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"'{path}' is not a checkpoint of this package ({error}): remove it") from error
    if written != identity:
        changed = ", ".join(name for name, value in asdict(identity).items() if getattr(written, name) != value)
        raise TrainingError(
            f"run folder '{folder.parent}' holds a run with another {changed}: choose another folder or remove it"
        )
    return Checkpoint(cursor, tensors)
