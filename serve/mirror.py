"""What a registry has of a model, brought into the store of a concept that follows it.

A version keeps the registry's number, so that `<bo@7>` is version 7 of the model, is copied once, and is the latest only if it is
the registry's. Aliases become the registry's too: these and no others. What is deleted there stays here.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from serve.users.following import Link
from unictokens.concepts.bundle import ConceptBundle, bundle_from_bytes
from unictokens.errors import ConceptError, UniCTokensError
from unictokens.tracking.mlflow_registry import Registered, place_of
from unictokens.tracking.uploader import BackOff

log = logging.getLogger(__name__)

LONGEST = 600.0
"""Seconds at most until a version that was refused is asked for again: it may have been mended."""


class Registry(Protocol):
    """A registry, read. See `MlflowRegistry`."""

    def marks(self, models: Collection[str]) -> dict[str, str]:
        """What tells by name whether something of these models has changed. Raises Away."""
        ...

    def look(self, model: str) -> Registered:
        """What there is of a model. Raises Refused, Away."""
        ...

    def bundle(self, model: str, version: int) -> bytes:
        """A version's file. Raises StorageError."""
        ...


@dataclass
class _Refused:
    """A version that could not be taken: why, and when to ask again."""

    reason: str = ""
    due: float = 0.0
    back: BackOff = field(default_factory=lambda: BackOff(first=5.0, most=LONGEST))


def read_version(registry: Registry, model: str, version: int) -> ConceptBundle:
    """A version as it is in the registry, checked against its checksum. Raises StorageError, ConceptError."""
    return bundle_from_bytes(registry.bundle(model, version), place_of(model, version))


def renamed(bundle: ConceptBundle, name: str) -> ConceptBundle:
    """The same concept under another name."""
    card = bundle.card
    if card.name == name:
        return bundle
    return ConceptBundle(bundle.tokens, replace(card, name=name, info=card.info.replace(f"<{card.name}>", f"<{name}>")))


class Mirror:
    """A registry as concepts see it that are served on the backbone of this fingerprint. Used by one thread at a time."""

    def __init__(
        self, registry: Registry, fingerprint: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._fingerprint = fingerprint
        self._clock = clock
        self._refused: dict[tuple[str, int], _Refused] = {}
        self._seen: dict[str, tuple[str, str]] = {}

    def changed(self, links: Sequence[Link]) -> Iterator[Link]:
        """Those of all links that are to be brought up to date: something of their model has changed, or stood in the way before.

        Each that is asked for next says that the one before has been updated. Raises StorageError: Away.
        """
        marks = self._registry.marks({link.model for link in links})
        ids = {link.concept.id for link in links}
        self._seen = {concept: seen for concept, seen in self._seen.items() if concept in ids}
        for link in links:
            now = (link.model, marks.get(link.model, ""))
            if link.trouble or self._seen.get(link.concept.id) != now:
                yield link
                self._seen[link.concept.id] = now

    def update(self, link: Link) -> str:
        """Bring a concept up to date; returns why it is not quite, "" when it is.

        Raises StorageError: Away when the registry does not answer, Refused when it has no such model, others for the disk.
        """
        there = self._registry.look(link.model)
        meant = set(there.aliases.values())
        # First what aliases mean: until they are set, the newest version would be served.
        self._copy(link, sorted(meant, reverse=True))
        self._set_aliases(link, there)
        self._copy(link, [number for number in there.versions if number not in meant])
        wanted = {*meant, *there.versions}
        refused = {number: one for (concept, number), one in self._refused.items() if concept == link.concept.id}
        for number in refused.keys() - wanted:
            del self._refused[link.concept.id, number]
        return "; ".join(refused[number].reason for number in sorted(refused.keys() & wanted, reverse=True)[:1])

    def _copy(self, link: Link, numbers: Iterable[int]) -> None:
        store, name = link.concept.store, link.concept.name
        given = set(store.given(name))
        for number in numbers:
            key = (link.concept.id, number)
            if number in given or (key in self._refused and self._clock() < self._refused[key].due):
                continue
            try:
                bundle = self._taken(link, number)
            except UniCTokensError as error:
                # One broken version, or one whose file does not come, keeps no other waiting.
                refused = self._refused.setdefault(key, _Refused())
                refused.reason = f"version {number} is not taken: {error}"
                refused.due = self._clock() + refused.back.failed()
                continue
            store.put(bundle, number)
            self._refused.pop(key, None)
            log.info("concept %s has version %d of '%s'", link.concept.id, number, link.model)

    def _taken(self, link: Link, number: int) -> ConceptBundle:
        bundle = read_version(self._registry, link.model, number)
        card = bundle.card
        if card.name != link.source:
            raise ConceptError(f"it is a concept '{card.name}', not '{link.source}': register it under another model")
        served = self._fingerprint()
        if card.backbone.fingerprint != served:
            raise ConceptError(
                f"it was learned on backbone '{card.backbone.name}' ({card.backbone.fingerprint[:12]}), "
                f"served is another ({served[:12]}): train it on this one"
            )
        return renamed(bundle, link.concept.name)

    def _set_aliases(self, link: Link, there: Registered) -> None:
        store, name = link.concept.store, link.concept.name
        versions = {stored.version for stored in store.versions(name)}
        if not versions:
            return
        known = store.aliases(name)
        for alias, number in there.aliases.items():
            if number in versions and known.get(alias) != number:
                try:
                    store.set_alias(name, alias, number)
                except ConceptError as error:  # a word that is no alias here
                    log.info("concept %s: %s", link.concept.id, error)
        for alias in known.keys() - there.aliases.keys():
            store.unset_alias(name, alias)
