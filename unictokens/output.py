"""The place that a user names with --out: a folder, or a bucket behind a URL.

<out>/store/                    published concepts (`unictokens.concepts.store`)
<out>/runs/<concept>-<hash>/    checkpoints, history, previews, answers and events of a run
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from unictokens.atomic import storage_error
from unictokens.concepts.names import check_name
from unictokens.concepts.store import ConceptStore
from unictokens.errors import StorageError
from unictokens.storage.base import Place, Storage, join, open_storage
from unictokens.storage.workspace import LocalWorkspace, MirroredWorkspace, Workspace, scratch

ASKED = 64
"""Runs or concepts that are asked about one by one; for more, everything is listed once: a bucket takes as long for one answer
as for a thousand names."""
STATE = ".safetensors"


@dataclass(frozen=True)
class Output:
    """Everything that lasts of a training, below one place."""

    root: Place

    @cached_property
    def storage(self) -> Storage:
        """The place itself. Raises DependencyError, ConfigError as `open_storage` does."""
        return open_storage(self.root)

    @cached_property
    def store(self) -> ConceptStore:
        """Where finished concepts are published."""
        return ConceptStore(join(self.root, "store"))

    @property
    def local(self) -> Path:
        """The folder itself; of a URL, a scratch folder of this process for what a local file must be made of."""
        if isinstance(self.root, Path):
            return self.root
        return scratch() / hashlib.sha256(self.root.encode()).hexdigest()[:12]

    def prepare(self) -> None:
        """See that objects can be written there, and that of two who claim one name only the first gets it.

        A folder is made, a bucket must exist. Raises StorageError.
        """
        probe = f".writable-{secrets.token_hex(6)}"
        claims = [self.storage.create(probe, b""), self.storage.create(probe, b"")]
        self.storage.remove(probe)
        if claims != [True, False]:
            raise StorageError(
                f"'{self.root}' lets two writers claim one name (it ignores If-None-Match): "
                "choose a server with conditional writes, or a folder"
            )

    def run_place(self, name: str) -> Place:
        """Where a run is kept, for who must see what others have there now."""
        return join(self.root, "runs", check_name(name, "run"))

    def forget_local(self) -> None:
        """This process is done: remove the scratch folder of a URL. A folder stays."""
        if not isinstance(self.root, Path):
            shutil.rmtree(self.local, ignore_errors=True)
            with suppress(OSError):  # what is left in it is of another output
                self.local.parent.rmdir()

    def run_folder(self, name: str) -> Path:
        """The folder in which a run works, on this machine; what a URL has of it is there after `open_run`."""
        return self.local / "runs" / check_name(name, "run")

    def open_run(self, name: str) -> Workspace:
        """The folder of a run with everything it needs to go on, for as long as it trains here. Raises StorageError."""
        folder = self.run_folder(name)
        if isinstance(self.root, Path):
            return LocalWorkspace(folder)
        return MirroredWorkspace(folder, self.storage, f"runs/{name}")

    def begun(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the runs that have saved anything, in order; of many it is asked in one listing. Raises StorageError."""
        if len(names) <= ASKED:
            return tuple(name for name in names if self._begun(name))
        if isinstance(self.root, Path):
            there = set(names).intersection(_inside(self.root / "runs"))
            return tuple(name for name in names if name in there and self._begun(name))
        saved = [file.split("/") for file in self.storage.list("runs") if file.endswith(STATE)]
        begun = {run for _, run, *rest in saved if rest[:1] == ["checkpoints"]}
        return tuple(name for name in names if name in begun)

    def _begun(self, name: str) -> bool:
        kept = self.storage.list(f"runs/{check_name(name, 'run')}/checkpoints")
        return any(file.endswith(STATE) for file in kept)

    def published(self, concepts: Sequence[str]) -> frozenset[str]:
        """Concepts that may have a version in the store, those of `concepts` among them; of many it is asked in one listing.

        Raises StorageError.
        """
        return frozenset(concepts if len(concepts) <= ASKED else self.store.names())


def _inside(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error(error, folder, "list") from error
