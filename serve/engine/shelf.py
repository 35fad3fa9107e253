"""Rows of many users' concepts beside the model: loaded once, kept while they are used, then least recently used first out.

Every concept's rows are tensors of their own, not places of one padded bank: a concept of a thousand rows makes none of its
neighbours longer, adding one copies none, and a pass takes up only the rows of its own requests however many are kept.
A reference names one version, so requests finish on the rows that they began with, whatever is published meanwhile.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch

from serve.engine.counters import ShelfCounters
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import ConceptCard, FrozenModel
from unictokens.concepts.tokens import ConceptTokens

Load = Callable[[Hashable], ConceptBundle]
"""Finds the bundle of a reference. Raises ConceptError or StorageError."""


@dataclass(eq=False)
class Kept:
    """A concept on the shelf: its rows where the model is, and how many requests use them."""

    reference: Hashable
    card: ConceptCard
    tokens: ConceptTokens
    users: int = 0

    @property
    def bytes(self) -> int:
        """Memory of its rows."""
        return sum(tensor.nbytes for tensor in self.tokens.tensors())


@dataclass(eq=False)
class _Loading:
    """A concept that some thread is loading; the others wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0


class ConceptShelf:
    """Holds up to `limit` bytes of rows that nobody uses now; those in use or pinned stay beyond it."""

    def __init__(
        self, load: Load, backbone: FrozenModel, device: torch.device, limit: int, counters: ShelfCounters
    ) -> None:
        self._load = load
        self._backbone = backbone
        self._device = device
        self._limit = limit
        self._counters = counters
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._loading: dict[Hashable, _Loading] = {}
        self._pinned: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, reference: Hashable) -> bool:
        return reference in self._kept

    def take(self, reference: Hashable) -> Kept:
        """A concept's rows, to be given back with `release`; loads them in the calling thread, once for all that ask.

        Raises what `load` raises, and ConceptError for rows of another backbone.
        """
        with self._lock:
            if (found := self._found(reference)) is not None:
                return found
            loading = self._loading.setdefault(reference, _Loading())
            loading.waiting += 1
        try:
            with loading.lock:
                with self._lock:
                    if (found := self._found(reference)) is not None:
                        return found
                return self._fetch(reference)
        finally:
            with self._lock:
                loading.waiting -= 1
                if not loading.waiting:
                    del self._loading[reference]

    def release(self, kept: Kept) -> None:
        """A request is done with these rows."""
        with self._lock:
            kept.users -= 1
            self._make_room()

    def card(self, reference: Hashable) -> ConceptCard:
        """What a concept says about itself; raises as `take` does."""
        kept = self.take(reference)
        self.release(kept)
        return kept.card

    def pin(self, reference: Hashable) -> None:
        """Load a concept and keep it until `unpin`; raises as `take` does."""
        kept = self.take(reference)
        with self._lock:
            self._pinned.add(reference)
        self.release(kept)

    def unpin(self, reference: Hashable) -> None:
        """Keep a concept no longer than others."""
        with self._lock:
            self._pinned.discard(reference)
            self._make_room()

    def forget(self, which: Callable[[Hashable], bool]) -> None:
        """Drop the concepts whose references `which` picks; requests that use them finish on them."""
        with self._lock:
            for reference in [reference for reference in self._kept if which(reference)]:
                self._drop(reference)
                self._pinned.discard(reference)

    def _found(self, reference: Hashable) -> Kept | None:
        kept = self._kept.get(reference)
        if kept is not None:
            self._kept.move_to_end(reference)
            self._counters.hits += 1
            kept.users += 1
        return kept

    def _fetch(self, reference: Hashable) -> Kept:
        try:
            bundle = self._load(reference)
            bundle.require_backbone(self._backbone)
        except Exception:
            with self._lock:
                self._counters.errors += 1
            raise
        tokens = bundle.tokens
        rows = [tensor.detach().to(self._device) for tensor in tokens.tensors()]
        kept = Kept(reference, bundle.card, ConceptTokens(tokens.layout, *rows), users=1)
        with self._lock:
            self._kept[reference] = kept
            self._counters.loads += 1
            self._counters.held_bytes += kept.bytes
            self._make_room()
        return kept

    def _make_room(self) -> None:
        if self._counters.held_bytes <= self._limit:
            return
        for reference in list(self._kept):
            if not self._kept[reference].users and reference not in self._pinned:
                self._drop(reference)
                self._counters.evictions += 1
                if self._counters.held_bytes <= self._limit:
                    return

    def _drop(self, reference: Hashable) -> None:
        self._counters.held_bytes -= self._kept.pop(reference).bytes
