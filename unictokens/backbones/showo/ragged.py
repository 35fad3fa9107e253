"""The transformer run only where something is wanted: no padding, image blocks read before, last layer at asked places.

The layers are the loaded Phi's own modules; only the order of work differs from transformers' forward pass, so results
are equal but for rounding. Shape letters beside the house's: M real places of a batch, Q asked places, H heads, E width of
a head, P places of an image prefix, L layers.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.showo.language_model import LanguageModel


@dataclass(frozen=True, eq=False)
class Ragged:
    """Some places of a padded batch [B, T]: rows_M and columns_M int64 [M], sorted by row."""

    rows_M: Tensor
    columns_M: Tensor
    B: int
    T: int

    @classmethod
    def where(cls, real_BT: Tensor) -> "Ragged":
        """The places where a bool [B, T] is true."""
        rows_M, columns_M = real_BT.nonzero(as_tuple=True)
        return cls(rows_M, columns_M, *real_BT.shape)

    def spread(self, x_MHE: Tensor) -> Tensor:
        """Values [M, H, E] at their places of [B, H, T, E], zeros elsewhere."""
        padded_BTHE = x_MHE.new_zeros(self.B, self.T, *x_MHE.shape[1:])
        return padded_BTHE.index_put((self.rows_M, self.columns_M), x_MHE).transpose(1, 2)

    def collect(self, x_BHTE: Tensor) -> Tensor:
        """Values at the places of [B, H, T, E], as [M, H * E]."""
        return x_BHTE.transpose(1, 2)[self.rows_M, self.columns_M].flatten(1)

    def of(self, chosen_Q: Tensor) -> "Ragged":
        """Those of the places that chosen_Q (int64 [Q], sorted) numbers, moved together at the front of their rows."""
        rows_Q = self.rows_M[chosen_Q]
        counts_B = torch.bincount(rows_Q, minlength=self.B)
        firsts_B = counts_B.cumsum(0) - counts_B
        columns_Q = torch.arange(len(rows_Q), device=rows_Q.device) - firsts_B[rows_Q]
        return Ragged(rows_Q, columns_Q, self.B, int(counts_B.max()))


def hidden_at(
    model: LanguageModel,
    x_MD: Tensor,
    places: Ragged,
    positions_M: Tensor,
    mask: Tensor,
    asked_Q: Tensor,
    prefix_BLKHPE: Tensor | None = None,
) -> Tensor:
    """Final hidden states [Q, D] at asked_Q (int64 [Q], sorted, numbers of places) of embeddings x_MD [M, D].

    positions_M    int64 [M]
    mask           bool [B or 1, 1, T, P + T], True = may attend; every real place must see something
    prefix_BLKHPE  keys and values (K = 2) of what stands before each row, as `prefix_keys` gives them; no gradient reaches it
    """
    phi = model.showo.model
    turn = Turn(phi, x_MD, positions_M)
    mask = mask.expand(places.B, -1, -1, -1)
    for number, layer in enumerate(phi.layers):
        y_MD = layer.input_layernorm(x_MD)
        k_MHE, v_MHE = keys_values(layer.self_attn, y_MD, turn)
        keys, values = places.spread(k_MHE), places.spread(v_MHE)
        if prefix_BLKHPE is not None:
            keys = torch.cat([prefix_BLKHPE[:, number, 0], keys], dim=2)
            values = torch.cat([prefix_BLKHPE[:, number, 1], values], dim=2)
        asking = places
        if number + 1 == len(phi.layers):
            # Nobody reads the last layer elsewhere: its queries and its wide inner layer are needed at asked places only.
            x_MD, y_MD, turn, asking = x_MD[asked_Q], y_MD[asked_Q], turn.at(asked_Q), places.of(asked_Q)
            mask = _mask_of(mask, places, asked_Q, asking)
        q_MHE = queries(layer.self_attn, y_MD, turn)
        seen_BHTE = _attend(asking.spread(q_MHE), keys, values, mask)
        x_MD = layer.self_attn.dense(asking.collect(seen_BHTE)) + layer.mlp(y_MD) + x_MD
    return phi.final_layernorm(x_MD)


@torch.no_grad()
def prefix_keys(model: LanguageModel, x_PD: Tensor) -> Tensor:
    """Keys and values [L, 2, H, P, E] of one prefix whose places all see each other, from its embeddings x_PD [P, D]."""
    phi = model.showo.model
    turn = Turn(phi, x_PD, torch.arange(len(x_PD), device=x_PD.device))
    kept = []
    for number, layer in enumerate(phi.layers):
        y_PD = layer.input_layernorm(x_PD)
        k_HPE, v_HPE = (part.transpose(0, 1) for part in keys_values(layer.self_attn, y_PD, turn))
        kept.append(torch.stack([k_HPE, v_HPE]))
        if number + 1 < len(phi.layers):
            q_HPE = queries(layer.self_attn, y_PD, turn).transpose(0, 1)
            seen_HPE = _attend(q_HPE[None], k_HPE[None], v_HPE[None], None)[0]
            x_PD = layer.self_attn.dense(seen_HPE.transpose(0, 1).flatten(1)) + layer.mlp(y_PD) + x_PD
    return torch.stack(kept)


class Turn:
    """Rotary position embedding of the places of a batch: cos and sin [M, 1, R] for the first R of E."""

    def __init__(self, phi: Any, x_MD: Tensor, positions_M: Tensor) -> None:
        cos_1MR, sin_1MR = phi.rotary_emb(x_MD[None], positions_M[None])
        self.cos, self.sin = cos_1MR[0, :, None], sin_1MR[0, :, None]

    def at(self, chosen_Q: Tensor) -> "Turn":
        """The same for some of the places."""
        made = object.__new__(Turn)
        made.cos, made.sin = self.cos[chosen_Q], self.sin[chosen_Q]
        return made

    def __call__(self, x_MHE: Tensor) -> Tensor:
        turned, kept = x_MHE[..., : self.cos.shape[-1]], x_MHE[..., self.cos.shape[-1] :]
        first, second = turned.chunk(2, dim=-1)
        return torch.cat([turned * self.cos + torch.cat([-second, first], -1) * self.sin, kept], dim=-1)


def keys_values(attention: Any, y_MD: Tensor, turn: Turn) -> tuple[Tensor, Tensor]:
    """Keys, turned, and values [M, H, E], repeated where heads share them."""
    heads = (len(y_MD), -1, attention.head_dim)
    k_MHE = turn(attention.k_layernorm(attention.k_proj(y_MD).view(heads)))
    v_MHE = attention.v_proj(y_MD).view(heads)
    groups = attention.num_key_value_groups
    return (k_MHE, v_MHE) if groups == 1 else (k_MHE.repeat_interleave(groups, 1), v_MHE.repeat_interleave(groups, 1))


def queries(attention: Any, y_MD: Tensor, turn: Turn) -> Tensor:
    """Queries, turned, [M, H, E]."""
    return turn(attention.q_layernorm(attention.q_proj(y_MD).view(len(y_MD), -1, attention.head_dim)))


def _attend(q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, mask: Tensor | None) -> Tensor:
    return functional.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, attn_mask=mask)


def _mask_of(mask: Tensor, places: Ragged, asked_Q: Tensor, asking: Ragged) -> Tensor:
    """The mask's rows of the asked places, bool [B, 1, asking.T, keys]; empty places see everything, which nobody reads."""
    rows = mask.new_ones(asking.B, asking.T, mask.shape[-1])
    rows[asking.rows_M, asking.columns_M] = mask[asking.rows_M, 0, places.columns_M[asked_Q]]
    return rows[:, None]
