"""The shelf between training and serving: concepts by name and version, published whole, read by anybody.

The store is a folder or a bucket (see `unictokens.concepts.shelf` for what is in it). A reader sees a version complete or not at
all, and of two publishers each gets a number of its own. Numbers are not given twice.
"""

import logging
import re
from dataclasses import dataclass
from functools import cached_property

from unictokens.concepts.bundle import ConceptBundle, bundle_from_bytes, bundle_to_bytes
from unictokens.concepts.card import ConceptCard, FrozenModel, card_from_json, card_to_json
from unictokens.concepts.names import check_name
from unictokens.concepts.shelf import CARD, TOKENS, Shelf, Shelved, folder_of, open_shelf
from unictokens.errors import ConceptError, StorageError
from unictokens.storage.base import Place, join

logger = logging.getLogger(__name__)

LATEST = "latest"
_ASKED = re.compile(r"v?0*([1-9]\d{0,8})")


@dataclass(frozen=True)
class StoredConcept:
    """One published version in the store at `root`."""

    name: str
    version: int
    root: Place
    shelf: Shelf

    @property
    def label(self) -> str:
        """`bo@v3`, as shown to users."""
        return f"{self.name}@v{self.version}"

    def card(self) -> ConceptCard:
        """The card, without reading the rows where it is beside them. Raises StorageError when it is missing or damaged."""
        data = self.shelf.read(self.name, self.version, CARD)
        return self.load().card if data is None else card_from_json(data, self._place(CARD))

    def load(self, backbone: FrozenModel | None = None) -> ConceptBundle:
        """The bundle; with `backbone`, rows of other frozen weights are refused (see `bundle_from_bytes`)."""
        data = self.shelf.read(self.name, self.version, TOKENS)
        if data is None:
            raise StorageError(f"'{self._place(TOKENS)}' is gone: list the concepts again, or publish it anew")
        return bundle_from_bytes(data, self._place(TOKENS), backbone=backbone)

    def _place(self, file: str) -> Place:
        return join(self.root, self.name, folder_of(self.version), file)


@dataclass(frozen=True)
class ConceptStore:
    """All published concepts at one place. A folder is made by the first `publish`, a bucket must be there."""

    root: Place

    @cached_property
    def _shelf(self) -> Shelf:
        return open_shelf(self.root)

    def publish(self, bundle: ConceptBundle, once: bool = False) -> int:
        """Store a bundle as the next version of its concept; returns the version number.

        once  a version of the same configuration, data and backbone is returned in place of storing a second one, also when
              another publisher is just putting it there
        Safe beside other publishers, threads or processes. Raises StorageError when the disk refuses.
        """
        card = bundle.card
        check_name(card.name)
        data, shown = bundle_to_bytes(bundle), card_to_json(card, indent=1).encode()
        while True:
            # The number is fixed before the look: whoever publishes after the look takes it, and this try fails.
            version = max(self._shelf.given(card.name), default=0) + 1
            made = card.provenance
            asked = (card.name, made.config_hash, made.dataset_digest, card.backbone.fingerprint)
            known = self.find(*asked) if once else None
            if known is not None:
                return known.version
            if self._shelf.add(card.name, version, data, shown):
                logger.info("published %s@v%d", card.name, version)
                return version

    def put(self, bundle: ConceptBundle, version: int) -> bool:
        """Store a bundle under the number that it has elsewhere; False when its concept has given that number before.

        Raises StorageError when the disk refuses.
        """
        card = bundle.card
        check_name(card.name)
        if version in self._shelf.given(card.name):
            return False
        return self._shelf.add(card.name, version, bundle_to_bytes(bundle), card_to_json(card, indent=1).encode())

    def given(self, name: str) -> tuple[int, ...]:
        """Numbers that were ever given to versions of a concept, also to those since deleted, in order."""
        return self._shelf.given(check_name(name))

    def snapshot(self) -> dict[str, Shelved]:
        """Versions and aliases of all concepts, by name. One listing on a bucket: cheap enough to ask every few seconds."""
        return self._shelf.snapshot()

    def names(self) -> tuple[str, ...]:
        """Names of all concepts with at least one version, sorted."""
        return tuple(self._shelf.versions())

    def versions(self, name: str) -> tuple[StoredConcept, ...]:
        """All versions of a concept, oldest first; empty when it has none."""
        return tuple(self._stored(name, number) for number in self._shelf.numbers(check_name(name)))

    def list(self) -> tuple[StoredConcept, ...]:
        """The latest version of every concept, by name."""
        return tuple(self._stored(name, numbers[-1]) for name, numbers in self._shelf.versions().items())

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

    def find(
        self, name: str, config_hash: str, dataset_digest: str | None = None, fingerprint: str | None = None
    ) -> StoredConcept | None:
        """The newest version trained with this configuration, on this dataset and this backbone (where they are given), or None."""
        for concept in reversed(self.versions(name)):
            card = concept.card()
            made = card.provenance
            if (
                made.config_hash == config_hash
                and dataset_digest in (None, made.dataset_digest)
                and fingerprint in (None, card.backbone.fingerprint)
            ):
                return concept
        return None

    def aliases(self, name: str) -> dict[str, int]:
        """Aliases of a concept and the version each points to, without the implicit `latest`."""
        return self._shelf.aliases(check_name(name))

    def set_alias(self, name: str, alias: str, version: int | str = LATEST) -> int:
        """Let `alias` mean a version from now on; returns the version number.

        Raises ConceptError for an unknown version and for an alias that is `latest` or reads like a number.
        """
        check_name(alias, "alias")
        if alias == LATEST or _ASKED.fullmatch(alias):
            raise ConceptError(f"alias '{alias}' has a fixed meaning: choose another word")
        number = self.find_version(name, version).version
        self._shelf.set_alias(name, alias, number)
        return number

    def unset_alias(self, name: str, alias: str) -> None:
        """Let `alias` mean nothing from now on."""
        self._shelf.unset_alias(check_name(name), alias)

    def delete(self, name: str, version: int | str | None = None) -> None:
        """Remove one version and the aliases that point to it or, without `version`, the whole concept.

        Raises ConceptError when it does not exist, StorageError when the disk refuses.
        """
        concept = self.find_version(name, LATEST if version is None else version)
        if version is None:
            self._shelf.remove_all(name)
        else:
            self._shelf.remove(name, concept.version)

    def _stored(self, name: str, version: int) -> StoredConcept:
        return StoredConcept(name, version, self.root, self._shelf)

    def _number(self, name: str, version: int | str, stored: tuple[StoredConcept, ...]) -> int | None:
        if version == LATEST:
            return stored[-1].version
        if match := _ASKED.fullmatch(str(version)):
            return int(match.group(1))
        return self.aliases(name).get(str(version))
