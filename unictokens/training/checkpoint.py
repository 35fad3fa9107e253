"""The state of a run on disk, one small checksummed file per epoch, written atomically.

A file is `<stage number>-<stage>-<epoch>.safetensors`. A run keeps its last two, the end of every stage, any epoch that a later
stage continues from, and the best epoch of the last stage: that with the lowest mean total loss. A damaged file is set aside under
`damaged-...` and the one before it is used.

A run that must leave its host within an epoch writes `<stage number>-<stage>-<epoch>_<step>.safetensors`, which stands beside
the files above, counts as none of them, and goes as soon as the next file is written.
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
from unictokens.training.losses import StepLosses

log = logging.getLogger(__name__)

NAME = re.compile(r"(\d+)-([a-z_]+)-(\d{4,})(?:_(\d{4,}))?\.safetensors")
KEPT_LAST = 2


@dataclass(frozen=True, order=True)
class Cursor:
    """How far a run is: stage number from 0, its name, and finished epochs of it (0 = rows are ready, none trained).

    step  finished steps of the epoch after these, 0 between epochs
    """

    number: int
    stage: str
    epoch: int
    step: int = 0

    @property
    def file(self) -> str:
        """File name of the checkpoint; names are in the order of cursors."""
        within = f"_{self.step:04d}" if self.step else ""
        return f"{self.number}-{self.stage}-{self.epoch:04d}{within}.safetensors"


@dataclass(frozen=True)
class Identity:
    """What a run learns from; state is only continued by a run of the same identity."""

    concept: str
    config_hash: str
    dataset_digest: str
    backbone: str


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A cursor and the tensors of `TrainedRows.state`; within an epoch also the losses of its steps so far and their seconds."""

    cursor: Cursor
    tensors: dict[str, Tensor]
    steps: tuple[StepLosses, ...] = ()
    seconds: float = 0.0


def save_checkpoint(folder: Path, identity: Identity, checkpoint: Checkpoint, keep: frozenset[tuple[int, int]]) -> None:
    """Write a checkpoint, then remove those no longer needed.

    keep  (stage number, epoch) pairs that stay for good
    Raises StorageError; what was there before is then untouched.
    """
    newest = checkpoint.cursor
    about: dict[str, object] = {"identity": asdict(identity), "cursor": asdict(newest)}
    if newest.step:
        about |= {"steps": [asdict(step) for step in checkpoint.steps], "seconds": checkpoint.seconds}
    save_sealed(folder / newest.file, checkpoint.tensors, json.dumps(about, sort_keys=True))
    found = cursors(folder)
    within = [cursor for cursor in found if cursor.step and cursor != newest]
    whole = [cursor for cursor in found if not cursor.step][:-KEPT_LAST]
    for cursor in (*within, *(cursor for cursor in whole if (cursor.number, cursor.epoch) not in keep)):
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
    return sorted(Cursor(int(match[1]), match[2], int(match[3]), int(match[4] or 0)) for match in found if match)


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
        told = json.loads(about)
        written = Identity(**told["identity"])
        steps = tuple(StepLosses(**step) for step in told.get("steps", ()))
        seconds = float(told.get("seconds", 0.0))
        if len(steps) != cursor.step:
            raise ValueError(f"it tells of {len(steps)} steps")
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"'{path}' is not a checkpoint of this package ({error}): remove it") from error
    if written != identity:
        changed = ", ".join(name for name, value in asdict(identity).items() if getattr(written, name) != value)
        raise TrainingError(
            f"run folder '{folder.parent}' holds a run with another {changed}: choose another folder or remove it"
        )
    return Checkpoint(cursor, tensors, steps, seconds)
