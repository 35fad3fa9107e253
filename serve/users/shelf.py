"""Everybody's concepts: who has which name, who may use somebody else's, and where the files are.

    <root>/<user id>/<concept id>/store/     versions, as a `ConceptStore`
    <root>/<user id>/<concept id>/runs/      training runs, each with the photos and facts it learns from

Ids are random; a name is only a row of the database. A concept that is deleted takes its folder along, and a later one of the
same name has another id: nothing kept under the old one can be mistaken for it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.client import Reference
from serve.naming import ConceptName
from serve.users.accounts import Clock, new_id
from serve.users.database import Database, Taken
from unictokens.atomic import remove_folder
from unictokens.concepts.card import ConceptCard
from unictokens.concepts.store import LATEST, ConceptStore, StoredConcept
from unictokens.errors import ConceptError

SERVED = "live"
"""The alias that prompts use where it is set; else the latest version."""
COLUMNS = "concepts.id, concepts.user_id, concepts.name, concepts.created, users.name AS owner"


@dataclass(frozen=True)
class Concept:
    """A concept and its owner; `folder` holds all its files."""

    id: str
    user_id: str
    owner: str
    name: str
    created: float
    folder: Path

    @property
    def store(self) -> ConceptStore:
        """Its versions."""
        return ConceptStore(self.store_folder)

    @property
    def store_folder(self) -> Path:
        """Where they are."""
        return self.folder / "store"

    def versions(self) -> tuple[StoredConcept, ...]:
        """Its versions, oldest first. Raises StorageError."""
        return self.store.versions(self.name)

    def served(self, asked: str | None = None) -> "Served":
        """The version that a prompt means. Raises ConceptError when there is none, StorageError for damaged files."""
        store = self.store
        version = asked or (SERVED if SERVED in store.aliases(self.name) else LATEST)
        if not store.versions(self.name):
            raise ConceptError(f"concept '{self.name}' has no trained version yet: wait for its run to finish")
        stored = store.find_version(self.name, version)
        return Served(Reference(self.id, self.store_folder, self.name, stored.version), stored.card())


@dataclass(frozen=True)
class Served:
    """A version as requests use it."""

    reference: Reference
    card: ConceptCard


@dataclass(frozen=True)
class Shelf:
    """All concepts below `root`."""

    root: Path
    database: Database
    clock: Clock = time.time

    def create(self, user_id: str, owner: str, name: str) -> Concept | None:
        """A new concept without versions, or None when the user has one of that name, in whatever case."""
        concept = self._concept(new_id(), user_id, owner, name, self.clock())
        try:
            with self.database.change() as sql:
                sql.run(
                    "INSERT INTO concepts (id, user_id, name, folded, created) "
                    "VALUES (:id, :user, :name, :folded, :created)",
                    id=concept.id,
                    user=user_id,
                    name=name,
                    folded=name.lower(),
                    created=concept.created,
                )
        except Taken:
            return None
        return concept

    def own(self, user_id: str) -> tuple[Concept, ...]:
        """A user's own concepts, by name."""
        with self.database.read() as sql:
            rows = sql.all(
                f"SELECT {COLUMNS} FROM concepts JOIN users ON users.id = concepts.user_id "
                "WHERE concepts.user_id = :user ORDER BY concepts.name",
                user=user_id,
            )
        return tuple(map(self.of_row, rows))

    def granted(self, user_id: str) -> tuple[Concept, ...]:
        """Other users' concepts that this one may use, by owner and name."""
        with self.database.read() as sql:
            rows = sql.all(
                f"SELECT {COLUMNS} FROM grants JOIN concepts ON concepts.id = grants.concept_id "
                "JOIN users ON users.id = concepts.user_id WHERE grants.user_id = :user ORDER BY owner, concepts.name",
                user=user_id,
            )
        return tuple(map(self.of_row, rows))

    def find(self, user_id: str, user: str, names: Sequence[ConceptName]) -> dict[ConceptName, Concept]:
        """Those of `names` that mean a concept which the user owns or was granted.

        Only rows that the user may see are looked at: what others have changes neither result nor work.
        """
        mine = sorted({name.name for name in names if name.owner in (None, user)})
        theirs = sorted({name.name for name in names if name.owner not in (None, user)})
        rows: list[Any] = []
        with self.database.read() as sql:
            if mine:
                rows += sql.all(
                    f"SELECT {COLUMNS} FROM concepts JOIN users ON users.id = concepts.user_id "
                    "WHERE concepts.user_id = :user AND concepts.name IN :names",
                    user=user_id,
                    names=mine,
                )
            if theirs:
                rows += sql.all(
                    f"SELECT {COLUMNS} FROM grants JOIN concepts ON concepts.id = grants.concept_id "
                    "JOIN users ON users.id = concepts.user_id WHERE grants.user_id = :user AND concepts.name IN :names",
                    user=user_id,
                    names=theirs,
                )
        known = {(row.owner, row.name): self.of_row(row) for row in rows}
        found = {name: known.get((name.owner or user, name.name)) for name in names}
        return {name: concept for name, concept in found.items() if concept is not None}

    def delete(self, concept: Concept) -> None:
        """Forget a concept: its name, grants, rows, photos and runs. Raises StorageError when the disk refuses."""
        with self.database.change() as sql:
            sql.hold("concepts", concept.id)
            sql.run("DELETE FROM grants WHERE concept_id = :id", id=concept.id)
            sql.run("DELETE FROM concepts WHERE id = :id", id=concept.id)
        if concept.folder.exists():
            remove_folder(concept.folder)

    def sweep(self, concept: Concept) -> None:
        """Remove what was written for a concept after it was deleted. Raises StorageError."""
        with self.database.read() as sql:
            known = sql.one("SELECT id FROM concepts WHERE id = :id", id=concept.id)
        if known is None and concept.folder.exists():
            remove_folder(concept.folder)

    def grant(self, concept: Concept, user_id: str) -> bool:
        """Let a user use a concept; False when it was deleted meanwhile."""
        try:
            with self.database.change() as sql:
                sql.run(
                    "INSERT INTO grants (concept_id, user_id, created) VALUES (:concept, :user, :now) "
                    "ON CONFLICT (concept_id, user_id) DO NOTHING",
                    concept=concept.id,
                    user=user_id,
                    now=self.clock(),
                )
        except Taken:
            return False
        return True

    def revoke(self, concept: Concept, user_id: str) -> bool:
        """Take a grant back; False when there was none."""
        with self.database.change() as sql:
            return bool(
                sql.run(
                    "DELETE FROM grants WHERE concept_id = :concept AND user_id = :user",
                    concept=concept.id,
                    user=user_id,
                )
            )

    def receivers(self, concept: Concept) -> tuple[str, ...]:
        """Handles of the users a concept is granted to."""
        with self.database.read() as sql:
            rows = sql.all(
                "SELECT users.name FROM grants JOIN users ON users.id = grants.user_id "
                "WHERE grants.concept_id = :concept ORDER BY users.name",
                concept=concept.id,
            )
        return tuple(row.name for row in rows)

    def of_row(self, row: Any) -> Concept:
        """The concept of a row with `COLUMNS`."""
        return self._concept(row.id, row.user_id, row.owner, row.name, row.created)

    def _concept(self, identifier: str, user_id: str, owner: str, name: str, created: float) -> Concept:
        return Concept(identifier, user_id, owner, name, created, self.root / user_id / identifier)
