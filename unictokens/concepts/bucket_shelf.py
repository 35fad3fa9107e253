"""Versions in a bucket, where there are no folders to rename and no locks, but an object can be made only if it is absent.

    <name>/v0001/tokens.safetensors        made so: this object alone is the version, and it holds the card too
    <name>/v0001/card.json                 written after it; until it is there, the card is read from the bundle
    <name>/aliases/stable.000002.v0001     an empty object: the alias's second meaning is version 1

An alias means what its object with the highest turn says (of two with the same turn, the higher version), so that setting one
is a single put, two people who set different ones do not meet, and one listing tells everything without reading anything.
"""

import re
from dataclasses import dataclass

from unictokens.concepts.names import NAME
from unictokens.concepts.shelf import CARD, TOKENS, VERSION, Shelved, folder_of
from unictokens.storage.base import Storage, open_storage

ALIASES = "aliases"
_ALIAS = re.compile(rf"({NAME})\.(\d+)\.v(\d{{4,}})")


@dataclass(frozen=True)
class BucketShelf:
    """See `Shelf`."""

    storage: Storage

    def snapshot(self) -> dict[str, Shelved]:
        by_name: dict[str, list[str]] = {}
        for path in self.storage.list():
            name, _, rest = path.partition("/")
            by_name.setdefault(name, []).append(rest)
        found = {name: _Listing(tuple(paths)) for name, paths in by_name.items() if re.fullmatch(NAME, name)}
        return {name: Shelved(listing.versions, listing.aliases) for name, listing in found.items() if listing.versions}

    def versions(self) -> dict[str, tuple[int, ...]]:
        return {name: shelved.versions for name, shelved in sorted(self.snapshot().items())}

    def numbers(self, name: str) -> tuple[int, ...]:
        return self._listing(name).versions

    def given(self, name: str) -> tuple[int, ...]:
        return self._listing(name).given

    def add(self, name: str, version: int, bundle: bytes, card: bytes) -> bool:
        folder = f"{name}/{folder_of(version)}"
        if not self.storage.create(f"{folder}/{TOKENS}", bundle):
            return False
        self.storage.write(f"{folder}/{CARD}", card)
        return True

    def read(self, name: str, version: int, file: str) -> bytes | None:
        return self.storage.read(f"{name}/{folder_of(version)}/{file}")

    def aliases(self, name: str) -> dict[str, int]:
        return self._listing(name).aliases

    def set_alias(self, name: str, alias: str, version: int) -> None:
        before = [meaning for meaning in self._listing(name).meanings if meaning.alias == alias]
        turn = max((meaning.turn for meaning in before), default=0) + 1
        self.storage.write(f"{name}/{ALIASES}/{alias}.{turn:06d}.{folder_of(version)}", b"")
        self._forget(name, before)

    def unset_alias(self, name: str, alias: str) -> None:
        self._forget(name, [meaning for meaning in self._listing(name).meanings if meaning.alias == alias])

    def remove(self, name: str, version: int) -> None:
        listing = self._listing(name)
        gone = [alias for alias, number in listing.aliases.items() if number == version]
        self._forget(name, [meaning for meaning in listing.meanings if meaning.alias in gone])
        folder = f"{name}/{folder_of(version)}"
        self.storage.write(f"{folder}.deleted", b"")
        # The bundle goes last: until then the version is there, afterwards nothing of it is.
        self.storage.remove(f"{folder}/{CARD}")
        self.storage.remove(f"{folder}/{TOKENS}")

    def remove_all(self, name: str) -> None:
        # Aliases, then each version's card and bundle, markers last: if this breaks off, what is left is whole and listed, and
        # no number is given twice.
        for path in sorted(self._listing(name).paths, key=lambda path: (path.endswith(".deleted"), path)):
            self.storage.remove(f"{name}/{path}")

    def _listing(self, name: str) -> "_Listing":
        return _Listing(tuple(path.removeprefix(f"{name}/") for path in self.storage.list(name)))

    def _forget(self, name: str, meanings: "list[_Meaning]") -> None:
        # From old to new, so that one that breaks off does not bring an older meaning back.
        for meaning in sorted(meanings, key=lambda meaning: (meaning.turn, meaning.version)):
            self.storage.remove(f"{name}/{ALIASES}/{meaning.file}")


@dataclass(frozen=True)
class _Meaning:
    alias: str
    turn: int
    version: int
    file: str


@dataclass(frozen=True)
class _Listing:
    """What the names of a concept's objects say; `paths` are relative to the concept."""

    paths: tuple[str, ...]

    @property
    def versions(self) -> tuple[int, ...]:
        parts = (path.split("/") for path in self.paths)
        found = (VERSION.fullmatch(each[0]) for each in parts if len(each) == 2 and each[1] == TOKENS)
        return tuple(sorted(int(match[1]) for match in found if match))

    @property
    def given(self) -> tuple[int, ...]:
        found = (VERSION.fullmatch(path.partition("/")[0]) for path in self.paths)
        return tuple(sorted({int(match[1]) for match in found if match}))

    @property
    def meanings(self) -> list[_Meaning]:
        files = [path.removeprefix(f"{ALIASES}/") for path in self.paths if path.startswith(f"{ALIASES}/")]
        found = [(match, file) for file in files if (match := _ALIAS.fullmatch(file))]
        return [_Meaning(match[1], int(match[2]), int(match[3]), file) for match, file in found]

    @property
    def aliases(self) -> dict[str, int]:
        there = set(self.versions)
        ordered = sorted(self.meanings, key=lambda meaning: (meaning.alias, meaning.turn, meaning.version))
        last = {meaning.alias: meaning.version for meaning in ordered}
        return {alias: version for alias, version in last.items() if version in there}


def open_bucket_shelf(place: str) -> BucketShelf:
    """The shelf behind a URL. Raises as `open_storage` does."""
    return BucketShelf(open_storage(place))
