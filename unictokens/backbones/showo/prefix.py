"""Keys and values of image prefixes, kept for whoever asks about the same image again.

In an understanding sequence task and image stand before the text and see only each other: what the layers make of them
never changes while tokens train, and is the same for every concept. A prefix is computed alone, never in a batch, so that
it does not depend on what else was asked for.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DEFAULT_BYTES = 512 * 2**20


def prefix_key(ids: Sequence[int]) -> bytes:
    """What a prefix is kept under: its ids as int64."""
    return torch.tensor(ids, dtype=torch.int64).numpy().tobytes()


class PrefixCache:
    """Tensors by key, for any thread, least recently used first out: from the device to pinned host memory, from there to nowhere.

    device_bytes  budget where the model is
    host_bytes    budget in host memory beside a GPU; a model on the CPU has one memory and uses the sum
    """

    def __init__(self, device_bytes: int = DEFAULT_BYTES, host_bytes: int = 0) -> None:
        self.hits = 0
        self.misses = 0
        self._near = _Shelf(device_bytes)
        self._far = _Shelf(host_bytes)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["PrefixCache"], tuple[int, int]]:
        # A copy, in this process or another, begins empty.
        return PrefixCache, (self._near.limit, self._far.limit)

    def __len__(self) -> int:
        return len(self._near.kept) + len(self._far.kept)

    @property
    def held(self) -> tuple[int, int]:
        """Bytes held on the device and in host memory."""
        return self._near.held, self._far.held

    def clear(self) -> None:
        """Forget everything: the model moved or changed its dtype."""
        with self._lock:
            self._near.clear()
            self._far.clear()

    def drop(self, key: bytes) -> None:
        """Forget one; nothing where it is not kept."""
        with self._lock:
            self._near.take(key)
            self._far.take(key)

    def get(self, key: bytes, compute: Callable[[], Tensor]) -> Tensor:
        """The tensor of `key` where the model is, computed when it is not kept."""
        with self._lock:
            near = self._near.find(key)
            far = self._far.take(key) if near is None else None
            self.misses += near is None and far is None
            self.hits += near is not None or far is not None
        if near is not None:
            return near
        made = compute() if far is None else far.to(self._device, non_blocking=True)
        with self._lock:
            self._keep(key, made)
        return made

    def _keep(self, key: bytes, made: Tensor) -> None:
        self._device = made.device
        one_memory = made.device.type == "cpu"
        for old, tensor in self._near.put(key, made, self._far.limit if one_memory else 0):
            if not one_memory and tensor.nbytes <= self._far.limit:
                pinned = torch.empty_like(tensor, device="cpu", pin_memory=True)
                self._far.put(old, pinned.copy_(tensor))


class _Shelf:
    """Tensors within a byte limit, in the order of their last use."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.kept: OrderedDict[bytes, Tensor] = OrderedDict()

    def clear(self) -> None:
        self.kept.clear()
        self.held = 0

    def find(self, key: bytes) -> Tensor | None:
        if key in self.kept:
            self.kept.move_to_end(key)
        return self.kept.get(key)

    def take(self, key: bytes) -> Tensor | None:
        found = self.kept.pop(key, None)
        self.held -= 0 if found is None else found.nbytes
        return found

    def put(self, key: bytes, tensor: Tensor, more: int = 0) -> list[tuple[bytes, Tensor]]:
        """Keep a tensor; returns what had to go for it to stay below the limit plus `more`."""
        self.take(key)
        self.kept[key] = tensor
        self.held += tensor.nbytes
        gone = []
        while self.held > self.limit + more and self.kept:
            gone.append(self.kept.popitem(last=False))
            self.held -= gone[-1][1].nbytes
        return gone
