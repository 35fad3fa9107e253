"""What a concept store asks of the place it keeps versions in; one shelf for folders, one for buckets.

Both lay versions out alike, so that a store can be copied from one to the other:

    <name>/v0001/tokens.safetensors   the bundle
    <name>/v0001/card.json            its card again, for people and listings
    <name>/v0002.deleted              this number was given once and is not given again
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from unictokens.lookup import resolve
from unictokens.storage.base import Place

TOKENS = "tokens.safetensors"
CARD = "card.json"
VERSION = re.compile(r"v(\d{4,})(\.deleted)?")
SHELVES = {
    "folder": "unictokens.concepts.folder_shelf:FolderShelf",
    "url": "unictokens.concepts.bucket_shelf:open_bucket_shelf",
}


@dataclass(frozen=True)
class Shelved:
    """What there is of one concept: numbers of its versions, oldest first, and what its aliases mean."""

    versions: tuple[int, ...]
    aliases: Mapping[str, int]


class Shelf(Protocol):
    """Versions and aliases by checked names. Every method raises StorageError for what disk, network or rights refuse."""

    def snapshot(self) -> dict[str, Shelved]:
        """Everything that has a version, by name; one listing on a bucket."""
        ...

    def versions(self) -> dict[str, tuple[int, ...]]:
        """Numbers of all versions there are, oldest first, by name in order; one listing on a bucket."""
        ...

    def numbers(self, name: str) -> tuple[int, ...]:
        """Numbers of the versions there are, oldest first."""
        ...

    def given(self, name: str) -> tuple[int, ...]:
        """Numbers that were ever given, also to versions since deleted, in order."""
        ...

    def add(self, name: str, version: int, bundle: bytes, card: bytes) -> bool:
        """Put a version there, whole at once; False when the number is taken. Of several who try, one is told True."""
        ...

    def read(self, name: str, version: int, file: str) -> bytes | None:
        """A file of a version (`TOKENS` or `CARD`), None when it is not there."""
        ...

    def aliases(self, name: str) -> dict[str, int]:
        """Aliases and the versions they mean."""
        ...

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let an alias mean a version; other aliases that are set meanwhile stay."""
        ...

    def unset_alias(self, name: str, alias: str) -> None:
        """Let an alias mean nothing; other aliases that are set meanwhile stay."""
        ...

    def remove(self, name: str, version: int) -> None:
        """Remove a version for good, and aliases that mean it."""
        ...

    def remove_all(self, name: str) -> None:
        """Remove a concept with everything it has."""
        ...


def folder_of(version: int) -> str:
    """The folder of a version below its concept's."""
    return f"v{version:04d}"


def open_shelf(place: Place) -> Shelf:
    """The shelf at a place, without asking it anything yet. Raises as `open_storage` does."""
    return resolve(SHELVES, "url" if isinstance(place, str) else "folder", "store")(place)
