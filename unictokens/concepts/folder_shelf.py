"""Versions in a folder of a file system, where many processes publish and read.

A version is one folder that is renamed into place. Aliases are one file beside them, `<name>/aliases.json` {"stable": 1, ...},
changed under a lock.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unictokens.atomic import building_folder, claim, remove_folder, storage_error, write_bytes, write_json
from unictokens.concepts.shelf import CARD, TOKENS, VERSION, Shelved, folder_of
from unictokens.errors import StorageError

ALIASES = "aliases.json"


@dataclass(frozen=True)
class FolderShelf:
    """See `Shelf`. The folder is made by the first version."""

    root: Path

    def snapshot(self) -> dict[str, Shelved]:
        return {name: Shelved(numbers, self.aliases(name)) for name, numbers in self.versions().items()}

    def versions(self) -> dict[str, tuple[int, ...]]:
        try:
            folders = sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []
        except OSError as error:
            raise storage_error(error, self.root, "read") from error
        found = {name: self.numbers(name) for name in folders if not name.startswith(".")}
        return {name: numbers for name, numbers in found.items() if numbers}

    def numbers(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(number for number, deleted in self._given(name) if not deleted))

    def given(self, name: str) -> tuple[int, ...]:
        return tuple(sorted({number for number, _ in self._given(name)}))

    def add(self, name: str, version: int, bundle: bytes, card: bytes) -> bool:
        home = self.root / name
        with building_folder(home) as folder:
            write_bytes(folder / TOKENS, bundle)
            write_bytes(folder / CARD, card)
            return claim(folder, home / folder_of(version))

    def read(self, name: str, version: int, file: str) -> bytes | None:
        path = self.root / name / folder_of(version) / file
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, path, "read") from error

    def aliases(self, name: str) -> dict[str, int]:
        path = self.root / name / ALIASES
        try:
            values = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise storage_error(error, path, "read") from error
        except ValueError as error:
            raise StorageError(f"'{path}' is not JSON ({error}): delete it and set the aliases again") from error
        if not isinstance(values, dict) or not all(isinstance(value, int) for value in values.values()):
            raise StorageError(f"'{path}' is not an object of version numbers: delete it and set the aliases again")
        return values

    def set_alias(self, name: str, alias: str, version: int) -> None:
        with self._locked(name):
            write_json(self.root / name / ALIASES, {**self.aliases(name), alias: version})

    def unset_alias(self, name: str, alias: str) -> None:
        with self._locked(name):
            kept = self.aliases(name)
            if kept.pop(alias, None) is not None:
                write_json(self.root / name / ALIASES, kept)

    def remove(self, name: str, version: int) -> None:
        folder = self.root / name / folder_of(version)
        with self._locked(name):
            kept = {alias: number for alias, number in self.aliases(name).items() if number != version}
            if kept != self.aliases(name):
                write_json(self.root / name / ALIASES, kept)
            write_bytes(folder.with_name(folder.name + ".deleted"), b"")
            remove_folder(folder)

    def remove_all(self, name: str) -> None:
        remove_folder(self.root / name)

    def _given(self, name: str) -> list[tuple[int, bool]]:
        """Numbers and whether they are those of deleted versions."""
        home = self.root / name
        try:
            found = [match for path in home.iterdir() if (match := VERSION.fullmatch(path.name))]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise storage_error(error, home, "read") from error
        return [(int(match.group(1)), bool(match.group(2))) for match in found]

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        # Two processes that set aliases at once must not lose one: read and write belong together.
        path = self.root / name / ".lock"
        try:
            with path.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise storage_error(error, path) from error
