"""The losses of a run, one line of JSON per epoch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unictokens.atomic import storage_error, write_bytes
from unictokens.errors import StorageError
from unictokens.training.checkpoint import Cursor
from unictokens.training.losses import StepLosses


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """Mean losses over the steps of one epoch, by task; `seconds` is wall time of its steps."""

    number: int
    stage: str
    epoch: int
    steps: int
    losses: dict[str, float]
    seconds: float


def summarise(cursor: Cursor, steps: Sequence[StepLosses], seconds: float) -> EpochRecord:
    """The record of the epoch that ends at `cursor`."""
    names = {name: None for step in steps for name in step.values()}
    means = {}
    for name in names:
        values = [step.values()[name] for step in steps if name in step.values()]
        means[name] = sum(values) / len(values)
    return EpochRecord(
        number=cursor.number,
        stage=cursor.stage,
        epoch=cursor.epoch,
        steps=len(steps),
        losses=means,
        seconds=round(seconds, 3),
    )


def best_epoch(records: Sequence[EpochRecord], number: int) -> int | None:
    """The epoch of stage `number` with the lowest mean total loss, the first of equals; None before there is one.

    Epochs of one stage alone can be compared: each stage weighs its losses in its own way.
    """
    losses = {record.epoch: record.losses["total"] for record in records if record.number == number}
    return min(losses, key=lambda epoch: (losses[epoch], epoch), default=None)


class History:
    """`history.jsonl` of a run; rewritten whole, since it has one line per epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records: list[EpochRecord] = []

    def reopen(self, cursor: Cursor) -> None:
        """Read what is there and forget epochs after `cursor` (their state was lost); StorageError when damaged."""
        if not self._path.exists():
            return
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
            records = [EpochRecord(**json.loads(line)) for line in lines]
        except OSError as error:
            raise storage_error(error, self._path, "read") from error
        except (ValueError, TypeError) as error:
            raise StorageError(f"'{self._path}' is damaged ({error}): remove it") from error
        until = (cursor.number, cursor.epoch)
        self.records = [record for record in records if (record.number, record.epoch) <= until]

    def add(self, record: EpochRecord) -> None:
        """Append an epoch and write the file. Raises StorageError."""
        self.records.append(record)
        text = "".join(json.dumps(asdict(record)) + "\n" for record in self.records)
        write_bytes(self._path, text.encode())
