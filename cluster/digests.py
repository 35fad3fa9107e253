"""Digests of many concepts' data: read, checked and hashed by all cores, where there are enough concepts to be worth it."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unictokens.data.catalog import Catalog
from unictokens.errors import DataError, StorageError

MANY = 512
"""Concepts from which on other processes help."""
CHUNK = 128
"""Concepts that a process is given at a time."""


@dataclass(frozen=True)
class Digest:
    """What a concept's data are: their digest, or why they cannot be read ("" where they can)."""

    concept: str
    digest: str
    refusal: str = ""


def digests(catalog: Catalog, concepts: Sequence[str], processes: int | None = None) -> Iterator[Digest]:
    """The digest of every concept, in order; `processes` are as many as there are cores unless given."""
    count = processes or len(os.sched_getaffinity(0))
    if len(concepts) < MANY or count < 2 or "fork" not in multiprocessing.get_all_start_methods():
        yield from _some(catalog, concepts)
        return
    chunks = [concepts[at : at + CHUNK] for at in range(0, len(concepts), CHUNK)]
    # Forked: what the catalog has read is there already, and nothing is imported. The children only read and hash.
    forked = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(count, mp_context=forked, initializer=_begin, initargs=(catalog,)) as executor:
        for found in executor.map(_part, chunks):
            yield from found


_catalog: list[Catalog] = []
"""The catalog of a child, which is not sent with every part."""


def _begin(catalog: Catalog) -> None:
    _catalog[:] = [catalog]


def _part(concepts: Sequence[str]) -> list[Digest]:
    return _some(_catalog[0], concepts)


def _some(catalog: Catalog, concepts: Sequence[str]) -> list[Digest]:
    shared: dict[Path, str] = {}
    return [_one(catalog, concept, shared) for concept in concepts]


def _one(catalog: Catalog, concept: str, shared: dict[Path, str]) -> Digest:
    try:
        return Digest(concept, catalog.concept(concept).digest(shared))
    except (DataError, StorageError) as error:
        return Digest(concept, "", str(error))
