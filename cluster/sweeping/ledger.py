"""A sweep on disk: what was asked and what became of every trial. The only truth: Tune's own state is a pickle and is never read.

    <out>/sweeps/<name>/sweep.json         the question (`Asked`)
    <out>/sweeps/<name>/trials/0007.json   a trial, written before its runs begin and again when it is over

A killed sweep goes on from here: trials that are over are answered from these files, those under way continue from the
checkpoints of their own runs, and the search is told everything again.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.sweeping.trial import Trial
from unictokens.atomic import storage_error, write_json
from unictokens.concepts.names import check_name
from unictokens.errors import ConfigError, StorageError

SWEEP_FILE = "sweep.json"
MAY_CHANGE = ("trials",)
"""What a sweep that goes on may have otherwise: more trials."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Everything that decides what a sweep does.

    space     settings and their values, as in a file of a space
    config    the configuration that samples change
    data      digests of the concepts' data, by concept in order
    seeds     runs of every concept in a trial
    """

    space: dict[str, Any]
    config: dict[str, Any]
    data: dict[str, str]
    seeds: int
    search: str
    scheduler: str
    metrics: tuple[str, ...]
    watched: str
    seed: int
    levels: int
    grace: int
    reduction: int
    exam: dict[str, Any]
    trials: int

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return json.loads(json.dumps(asdict(self)))


class Ledger:
    """The folder of one sweep."""

    def __init__(self, out: Path, name: str) -> None:
        """Raises ConceptError for a name that no folder can have."""
        self.name = check_name(name, "sweep")
        self.folder = out / "sweeps" / name

    @property
    def begun(self) -> bool:
        """Whether such a sweep was begun before."""
        return (self.folder / SWEEP_FILE).exists()

    def open(self, asked: Asked, resume: bool) -> tuple[Trial, ...]:
        """Begin the sweep, or go on with it; returns the trials that are known, in order.

        Raises ConfigError when it was begun before and `resume` does not ask for it, or asked something else; StorageError.
        """
        path = self.folder / SWEEP_FILE
        if self.begun and not resume:
            raise ConfigError(
                f"sweep '{self.name}' was begun before in '{path.parent}': add --resume, or give another --name"
            )
        if self.begun:
            before = _read(path)
            changed = [
                key for key, value in asked.plain().items() if before.get(key) != value and key not in MAY_CHANGE
            ]
            if changed:
                raise ConfigError(
                    f"sweep '{self.name}' was begun with another {changed[0]}: go on with the same options, or give another --name"
                )
        write_json(path, asked.plain())
        return tuple(self._trials())

    def write(self, trial: Trial) -> None:
        """Keep a trial. Raises StorageError."""
        write_json(self._path(trial.number), trial.plain())

    def _trials(self) -> Iterator[Trial]:
        folder = self.folder / "trials"
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith("."))
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(error, folder, "read") from error
        for number, name in enumerate(names):
            if name != self._path(number).name:
                raise StorageError(f"'{folder}' has no {self._path(number).name} but later trials: give another --name")
            yield Trial.read(_read(folder / name), str(folder / name))

    def _path(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}.json"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except ValueError as error:
        raise StorageError(f"'{path}' is damaged ({error}): start the sweep under another --name") from error
