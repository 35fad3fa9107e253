"""Where forward and backward passes happen: on one device here; other engines (offloaded, partitioned) fit behind it."""

from typing import Any, Protocol

import torch
from torch import Tensor

from unictokens.backbones.base import Backbone, Losses
from unictokens.concepts.bank import ConceptBank
from unictokens.data.epochs import CodeCache


class Engine(Protocol):
    """A backbone that can be trained through."""

    @property
    def backbone(self) -> Backbone: ...

    @property
    def device(self) -> torch.device:
        """Where the learned rows live."""
        ...

    @property
    def codes(self) -> CodeCache:
        """Codes of pictures, computed once for all runs of this engine."""
        ...

    def losses(self, batch: Any, bank: ConceptBank) -> Losses:
        """Losses of a batch that `backbone.collate` made, with the graph to the bank's rows."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Gradients of a scalar for the learned rows."""
        ...


class LocalEngine:
    """The backbone in this process, on the device where it is."""

    def __init__(self, backbone: Backbone, device: torch.device | str = "cpu") -> None:
        self._backbone = backbone
        self._device = torch.device(device)
        self._codes = CodeCache(backbone.encode)

    @property
    def backbone(self) -> Backbone:
        return self._backbone

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def codes(self) -> CodeCache:
        return self._codes

    def losses(self, batch: Any, bank: ConceptBank) -> Losses:
        return self._backbone.losses(batch, bank)

    def backward(self, loss: Tensor) -> None:
        loss.backward()
