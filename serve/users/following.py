"""Concepts that follow a model of a registry: which, where, and what stands in the way. A deleted concept follows nothing."""

from dataclasses import dataclass
from typing import Any

from serve.users.database import Taken
from serve.users.shelf import COLUMNS, Concept, Shelf
from unictokens.errors import ConceptError


@dataclass(frozen=True)
class Link:
    """A concept and what it follows.

    uri      of the registry; it may hold a password
    model    its name there
    source   what the bundles there call the concept
    trouble  why it may not be up to date, "" when it is
    """

    concept: Concept
    uri: str
    model: str
    source: str
    trouble: str = ""


@dataclass(frozen=True)
class Following:
    """All links of a shelf's database."""

    shelf: Shelf

    def begin(self, link: Link) -> None:
        """Let a concept follow from now on, in place of what it followed before. Raises ConceptError when it was deleted."""
        try:
            with self.shelf.database.change() as sql:
                sql.run(
                    "INSERT INTO following (concept_id, uri, model, source, trouble) "
                    "VALUES (:concept, :uri, :model, :source, :trouble) ON CONFLICT (concept_id) "
                    "DO UPDATE SET uri = :uri, model = :model, source = :source, trouble = :trouble",
                    concept=link.concept.id,
                    uri=link.uri,
                    model=link.model,
                    source=link.source,
                    trouble=link.trouble,
                )
        except Taken as error:
            raise ConceptError(f"{link.concept.owner}'s {link.concept.name} was deleted just now") from error

    def end(self, concept: Concept) -> bool:
        """Let a concept follow no more; it keeps its versions. False when it did not follow."""
        with self.shelf.database.change() as sql:
            return bool(sql.run("DELETE FROM following WHERE concept_id = :id", id=concept.id))

    def of(self, concept: Concept) -> Link | None:
        """What a concept follows, or None."""
        with self.shelf.database.read() as sql:
            row = sql.one("SELECT * FROM following WHERE concept_id = :id", id=concept.id)
        return None if row is None else _link(concept, row)

    def all(self) -> tuple[Link, ...]:
        """Everything that follows, by owner and name."""
        with self.shelf.database.read() as sql:
            rows = sql.all(
                f"SELECT {COLUMNS}, following.uri, following.model, following.source, following.trouble FROM following "
                "JOIN concepts ON concepts.id = following.concept_id JOIN users ON users.id = concepts.user_id "
                "ORDER BY owner, concepts.name"
            )
        return tuple(_link(self.shelf.of_row(row), row) for row in rows)

    def tell(self, link: Link, trouble: str) -> None:
        """Remember what stands in a link's way, "" for nothing; of a link that has ended meanwhile nothing is kept."""
        with self.shelf.database.change() as sql:
            sql.run(
                "UPDATE following SET trouble = :trouble WHERE concept_id = :id AND uri = :uri AND model = :model",
                trouble=trouble,
                id=link.concept.id,
                uri=link.uri,
                model=link.model,
            )


def _link(concept: Concept, row: Any) -> Link:
    return Link(concept, row.uri, row.model, row.source, row.trouble)
