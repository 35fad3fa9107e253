"""The shelf between training and serving: concepts by name and version, published whole, read by anybody.

    <root>/<name>/v0001/tokens.safetensors   the bundle
    <root>/<name>/v0001/card.json            its card again, for people and listings
    <root>/<name>/aliases.json               {"stable": 1, ...}

A version is one folder that is renamed into place, so that a reader sees it complete or not at all and of two publishers
each gets a number of its own. Numbers are not given twice: a deleted version leaves an empty marker `v0001.deleted`.
"""

import fcntl
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unictokens.atomic import building_folder, claim, remove_folder, storage_error, write_bytes, write_json
from unictokens.concepts.bundle import ConceptBundle, load_bundle, save_bundle
from unictokens.concepts.card import ConceptCard, FrozenModel, card_from_json, card_to_json
from unictokens.concepts.names import check_name
from unictokens.errors import ConceptError, StorageError

logger = logging.getLogger(__name__)

LATEST = "latest"
TOKENS = "tokens.safetensors"
CARD = "card.json"
ALIASES = "aliases.json"
_VERSION = re.compile(r"v(\d{4,})(\.deleted)?")
_ASKED = re.compile(r"v?0*([1-9]\d{0,8})")


@dataclass(frozen=True)
class StoredConcept:
    """One published version: `folder` holds its bundle and card."""

    name: str
    version: int
    folder: Path

    @property
    def tokens_file(self) -> Path:
        """The bundle's file."""
        return self.folder / TOKENS

    @property
    def label(self) -> str:
        """`bo@v3`, as shown to users."""
        return f"{self.name}@v{self.version}"

    def card(self) -> ConceptCard:
        """The card, without reading the rows. Raises StorageError when it is missing or damaged."""
        path = self.folder / CARD
        try:
            return card_from_json(path.read_bytes(), path)
        except OSError as error:
            raise storage_error(error, path, "read") from error

    def load(self, backbone: FrozenModel | None = None) -> ConceptBundle:
        """The bundle; with `backbone`, rows of other frozen weights are refused (see `load_bundle`)."""
        return load_bundle(self.tokens_file, backbone=backbone)


@dataclass(frozen=True)
class ConceptStore:
    """All published concepts below one folder. The folder is made by the first `publish`."""

    root: Path

    def publish(self, bundle: ConceptBundle) -> int:
        """Store a bundle as the next version of its concept; returns the version number.

        Safe beside other publishers, threads or processes. Raises StorageError when the disk refuses.
        """
        home = self.root / check_name(bundle.card.name)
        with building_folder(home) as folder:
            save_bundle(bundle, folder / TOKENS)
            write_bytes(folder / CARD, card_to_json(bundle.card, indent=1).encode())
            version = max(self._numbers(bundle.card.name, deleted=True), default=0) + 1
            while not claim(folder, home / _folder(version)):
                version += 1
        logger.info("published %s@v%d", bundle.card.name, version)
        return version

    def names(self) -> tuple[str, ...]:
        """Names of all concepts with at least one version, sorted."""
        try:
            folders = sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []
        except OSError as error:
            raise storage_error(error, self.root, "read") from error
        return tuple(name for name in folders if not name.startswith(".") and self._numbers(name))

    def versions(self, name: str) -> tuple[StoredConcept, ...]:
        """All versions of a concept, oldest first; empty when it has none."""
        home = self.root / check_name(name)
        return tuple(StoredConcept(name, number, home / _folder(number)) for number in self._numbers(name))

    def list(self) -> tuple[StoredConcept, ...]:
        """The latest version of every concept, by name."""
        return tuple(self.versions(name)[-1] for name in self.names())

    def find_version(self, name: str, version: int | str = LATEST) -> StoredConcept:
        """A version by number (3, "3", "v3"), by alias, or the latest.

        Raises ConceptError naming what there is when there is no such concept or version.
        """
        stored = self.versions(name)
        if not stored:
            names = self.names()
            known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "none yet"
            raise ConceptError(f"no concept '{name}' in '{self.root}' (published: {known}): train or import it first")
        number = self._number(name, version, stored)
        for concept in stored:
            if concept.version == number:
                return concept
        there = ", ".join(f"v{concept.version}" for concept in stored[-10:])
        raise ConceptError(
            f"concept '{name}' has no version {str(version)[:64]!r}: choose {LATEST}, an alias or {there}"
        )

    def get(self, name: str, version: int | str = LATEST, backbone: FrozenModel | None = None) -> ConceptBundle:
        """The bundle of a version (see `find_version` and `load_bundle`)."""
        return self.find_version(name, version).load(backbone)

    def find(self, name: str, config_hash: str, dataset_digest: str | None = None) -> StoredConcept | None:
        """The newest version trained with this configuration (and, if given, on this dataset), or None."""
        for concept in reversed(self.versions(name)):
            provenance = concept.card().provenance
            if provenance.config_hash == config_hash and dataset_digest in (None, provenance.dataset_digest):
                return concept
        return None

    def aliases(self, name: str) -> dict[str, int]:
        """Aliases of a concept and the version each points to, without the implicit `latest`."""
        path = self.root / check_name(name) / ALIASES
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

    def set_alias(self, name: str, alias: str, version: int | str = LATEST) -> int:
        """Let `alias` mean a version from now on; returns the version number.

        Raises ConceptError for an unknown version and for an alias that is `latest` or reads like a number.
        """
        check_name(alias, "alias")
        if alias == LATEST or _ASKED.fullmatch(alias):
            raise ConceptError(f"alias '{alias}' has a fixed meaning: choose another word")
        number = self.find_version(name, version).version
        with self._locked(name):
            write_json(self.root / name / ALIASES, {**self.aliases(name), alias: number})
        return number

    def delete(self, name: str, version: int | str | None = None) -> None:
        """Remove one version and the aliases that point to it or, without `version`, the whole concept.

        Raises ConceptError when it does not exist, StorageError when the disk refuses.
        """
        if version is None:
            self.find_version(name)
            remove_folder(self.root / name)
            return
        concept = self.find_version(name, version)
        with self._locked(name):
            kept = {alias: number for alias, number in self.aliases(name).items() if number != concept.version}
            if kept != self.aliases(name):
                write_json(self.root / name / ALIASES, kept)
            write_bytes(concept.folder.with_name(concept.folder.name + ".deleted"), b"")
            remove_folder(concept.folder)

    def _number(self, name: str, version: int | str, stored: tuple[StoredConcept, ...]) -> int | None:
        if version == LATEST:
            return stored[-1].version
        if match := _ASKED.fullmatch(str(version)):
            return int(match.group(1))
        return self.aliases(name).get(str(version))

    def _numbers(self, name: str, deleted: bool = False) -> tuple[int, ...]:
        home = self.root / name
        try:
            found = [match for path in home.iterdir() if (match := _VERSION.fullmatch(path.name))]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise storage_error(error, home, "read") from error
        return tuple(sorted(int(match.group(1)) for match in found if deleted or not match.group(2)))

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


def _folder(version: int) -> str:
    return f"v{version:04d}"
