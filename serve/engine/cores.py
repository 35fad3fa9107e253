"""The processor's cores, divided among lanes that work at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Cores:
    """Each lane computes with its share of the threads that its engine's maker had; on a GPU there is nothing to divide.

    Products of these sizes do not fill many cores: two lanes beside each other, each with half of them, do more than two in turn.
    """

    def __init__(self, device: torch.device) -> None:
        self._all = torch.get_num_threads() if device.type == "cpu" else 0

    def share(self, working: int) -> None:
        """Let the calling thread use its part of them, where so many lanes work."""
        threads = max(1, self._all // max(1, working))
        # torch keeps the number for each thread, and asking is cheap where setting is not.
        if self._all and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All of them for the calling thread: convolutions add up in another order with fewer, and a picture's bytes must not
        depend on what else is going on. (Products and attention do not, see `showo.dense`.)
        """
        before = torch.get_num_threads()
        self.share(1)
        try:
            yield
        finally:
            if self._all and torch.get_num_threads() != before:
                torch.set_num_threads(before)
