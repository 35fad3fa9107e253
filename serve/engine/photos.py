"""Codes of pictures that were asked about before: the same picture is encoded once, and forgotten with the concepts it was asked with."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from serve.engine.cores import Cores
from serve.engine.counters import Counters
from unictokens.backbones.steps import Stepper

COMPANIONS = 64
"""Concepts that are remembered with a picture; with more it is kept for those alone with which it was asked about last."""


@dataclass(eq=False)
class _Photo:
    codes_N: Tensor
    concepts: set[Hashable] = field(default_factory=set)


class Photos:
    """Codes by the hash of the pixels, the `limit` most recently used, for any thread. Whatever leaves, the model forgets too.

    here  whether a concept's rows are still there: what was asked with a deleted one is not kept
    """

    def __init__(
        self, stepper: Stepper, limit: int, counters: Counters, here: Callable[[Hashable], bool], cores: Cores
    ) -> None:
        self._stepper = stepper
        self._cores = cores
        self._limit = limit
        self._counters = counters
        self._here = here
        self._kept: OrderedDict[bytes, _Photo] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def codes(self, picture_CHW: Tensor, concepts: Sequence[Hashable] = ()) -> Tensor:
        """Codes int64 [N] of a picture float32 [3, S, S] that is asked about with `concepts`."""
        key = hashlib.sha256(picture_CHW.contiguous().numpy().tobytes()).digest()
        with self._lock:
            found = self._kept.get(key)
        made = found or _Photo(self._encoded(picture_CHW))
        with self._lock:
            if found is None:
                self._counters.photo_misses += 1
            else:
                self._counters.photo_hits += 1
            self._keep(key, made, concepts)
        return made.codes_N

    def settle(self, codes_N: Tensor, concepts: Sequence[Hashable]) -> None:
        """After a picture was read: where one of its concepts was deleted meanwhile, the model keeps nothing of it."""
        if not all(map(self._here, concepts)):
            self._stepper.forget_picture(codes_N)

    def forget(self, which: Callable[[Hashable], bool]) -> None:
        """Drop the pictures that were asked about with a concept that `which` picks."""
        with self._lock:
            for key in [key for key, photo in self._kept.items() if any(map(which, photo.concepts))]:
                self._drop(key)

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            for key in list(self._kept):
                self._drop(key)

    def _encoded(self, picture_CHW: Tensor) -> Tensor:
        with self._cores.whole():
            return self._stepper.codes(picture_CHW)

    def _keep(self, key: bytes, photo: _Photo, concepts: Sequence[Hashable]) -> None:
        if not all(map(self._here, concepts)):  # a concept that is deleted later finds the picture here
            return
        photo = self._kept.setdefault(key, photo)
        photo.concepts.update(concepts)
        self._kept.move_to_end(key)
        if len(photo.concepts) > COMPANIONS:
            photo.concepts = set(concepts)
        if len(self._kept) > self._limit:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        self._stepper.forget_picture(self._kept.pop(key).codes_N)
