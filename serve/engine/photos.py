"""Codes of pictures that were asked about before: the same picture is encoded once."""

import hashlib
from collections import OrderedDict

from torch import Tensor

from serve.engine.counters import Counters
from unictokens.backbones.steps import Stepper


class Photos:
    """Codes by the hash of the pixels, the `limit` most recently used."""

    def __init__(self, stepper: Stepper, limit: int, counters: Counters) -> None:
        self._stepper = stepper
        self._limit = limit
        self._counters = counters
        self._codes: OrderedDict[bytes, Tensor] = OrderedDict()

    def codes(self, picture_CHW: Tensor) -> Tensor:
        """Codes int64 [N] of a picture float32 [3, S, S]."""
        key = hashlib.sha256(picture_CHW.contiguous().numpy().tobytes()).digest()
        found = self._codes.pop(key, None)
        if found is None:
            self._counters.photo_misses += 1
            found = self._stepper.codes(picture_CHW)
        else:
            self._counters.photo_hits += 1
        self._codes[key] = found
        if len(self._codes) > self._limit:
            self._codes.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forget them all."""
        self._codes.clear()
