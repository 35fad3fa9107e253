"""Who sees whom while a batch is computed: a mask where one is needed, and nothing where a rule says it all.

A mask costs a GPU its fastest attention kernels. Shapes: queries [B, H, T, E], keys and values [B, H, S, E].
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

from unictokens.backbones.showo.ragged import Ragged


class Sight(Protocol):
    """A rule, and attention under it."""

    def attend(self, q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor) -> Tensor:
        """What the queries see, [B, H, T, E]."""
        ...

    def at(self, places: Ragged, asked_Q: Tensor, asking: Ragged) -> "Sight":
        """The rule for the queries that asked_Q numbers among `places`, moved to where `asking` has them; all keys stay."""
        ...


@dataclass(frozen=True, eq=False)
class Everything:
    """Every query sees every key."""

    def attend(self, q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE)

    def at(self, places: Ragged, asked_Q: Tensor, asking: Ragged) -> Sight:
        return self


@dataclass(frozen=True, eq=False)
class Masked:
    """What a bool mask [B or 1, 1, T, S] says, True = may attend; every real place must see something."""

    mask: Tensor

    def attend(self, q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, attn_mask=self.mask)

    def at(self, places: Ragged, asked_Q: Tensor, asking: Ragged) -> Sight:
        # Empty places see everything, which nobody reads.
        rows = self.mask.new_ones(asking.B, asking.T, self.mask.shape[-1])
        whole = self.mask.expand(places.B, -1, -1, -1)
        rows[asking.rows_M, asking.columns_M] = whole[asking.rows_M, 0, places.columns_M[asked_Q]]
        return Masked(rows[:, None])


@dataclass(frozen=True, eq=False)
class Behind:
    """Text behind `prefix` keys, all of which it sees, as it sees the text before it; padding stands behind the text."""

    prefix: int

    def attend(self, q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor) -> Tensor:
        T, S = q_BHTE.shape[2], k_BHSE.shape[2]
        seen = causal_lower_right(T, S) if q_BHTE.is_cuda else _behind(T, S, q_BHTE.device)
        return functional.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, attn_mask=seen)

    def at(self, places: Ragged, asked_Q: Tensor, asking: Ragged) -> Sight:
        mask = _behind(places.T, self.prefix + places.T, asked_Q.device)
        return Masked(mask[None, None]).at(places, asked_Q, asking)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows without padding: the first `text` places see what stands before them, the image behind sees everything."""

    text: int

    def attend(self, q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor) -> Tensor:
        told, end = functional.scaled_dot_product_attention, self.text
        read = told(q_BHTE[:, :, :end], k_BHSE[:, :, :end], v_BHSE[:, :, :end], is_causal=True)
        return torch.cat([read, told(q_BHTE[:, :, end:], k_BHSE, v_BHSE)], dim=2)

    def at(self, places: Ragged, asked_Q: Tensor, asking: Ragged) -> Sight:
        return Everything()  # nobody asks a place of the text


@lru_cache(maxsize=4)
def _behind(T: int, S: int, device: torch.device) -> Tensor:
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)
