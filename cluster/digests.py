"""Digests of many concepts' data: read, checked and hashed by all cores, where there are enough concepts to be worth it."""

import gc
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

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
    # The first is read here, and with it the lists that all concepts share, so that no child reads them again.
    yield from _some(catalog, concepts[:1])
    chunks = [concepts[at : at + CHUNK] for at in range(1, len(concepts), CHUNK)]
    # Forked: what the catalog has read is there already, and nothing is imported. The children only read and hash.
    forked = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(count, mp_context=forked, initializer=_begin, initargs=(catalog,)) as executor:
        for found in executor.map(_part, chunks):
            yield from found


_child: list[tuple[Catalog, dict[str, str]]] = []
"""What a child keeps between its parts: the catalog, and the digests of the pictures that concepts share."""


def _begin(catalog: Catalog) -> None:
    gc.freeze()  # what the parent has is not searched for garbage again and again, and so stays shared
    _child[:] = [(catalog, {})]


def _part(concepts: Sequence[str]) -> list[Digest]:
    catalog, shared = _child[0]
    return _some(catalog, concepts, shared)


def _some(catalog: Catalog, concepts: Sequence[str], shared: dict[str, str] | None = None) -> list[Digest]:
    shared = {} if shared is None else shared
    return [_one(catalog, concept, shared) for concept in concepts]


def _one(catalog: Catalog, concept: str, shared: dict[str, str]) -> Digest:
    try:
        return Digest(concept, catalog.digest(concept, shared))
    except (DataError, StorageError) as error:
        return Digest(concept, "", str(error))
