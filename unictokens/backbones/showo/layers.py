"""The transformer run only where something is wanted: no padding, image blocks read before, last layer at asked places.

The layers are the loaded Phi's own modules; only the order of work differs from transformers' forward pass, so results
are equal but for rounding. Shape letters beside the house's: M real places of a batch, Q asked places, H heads, E width of
a head, P places of an image prefix, L layers.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.ragged import Ragged
from unictokens.backbones.showo.sight import Everything, Sight


def hidden_at(
    model: LanguageModel,
    x_MD: Tensor,
    places: Ragged,
    positions_M: Tensor,
    sight: Sight,
    asked_Q: Tensor,
    before: Sequence[Tensor] = (),
) -> Tensor:
    """Final hidden states [Q, D] at asked_Q (int64 [Q], sorted, numbers of places) of embeddings x_MD [M, D].

    positions_M  int64 [M]
    sight        who sees whom of the B rows of T places, behind the P places of `before`
    before       per row keys and values [L, 2, H, P, E] of what stands before it, as `prefix_keys` gives them; no gradient
                 reaches them
    """
    phi = model.showo.model
    turn = Rotation(phi, x_MD, positions_M)
    # Per layer the keys of all rows, then their values.
    read = list(zip(*(kept_LKHPE.flatten(0, 1).unbind(0) for kept_LKHPE in before), strict=True))
    for number, layer in enumerate(phi.layers):
        y_MD = layer.input_layernorm(x_MD)
        k_MHE, v_MHE = keys_values(layer.self_attn, y_MD, turn)
        keys, values = places.spread(k_MHE), places.spread(v_MHE)
        if read:
            keys, values = _behind(read[2 * number], keys), _behind(read[2 * number + 1], values)
        asking = places
        if number + 1 == len(phi.layers):
            # Nobody reads the last layer elsewhere: its queries and its wide inner layer are needed at asked places only.
            x_MD, y_MD, turn, asking = x_MD[asked_Q], y_MD[asked_Q], turn.at(asked_Q), places.of(asked_Q)
            sight = sight.at(places, asked_Q, asking)
        q_MHE = queries(layer.self_attn, y_MD, turn)
        seen_BHTE = sight.attend(asking.spread(q_MHE), keys, values)
        x_MD = layer.self_attn.dense(asking.collect(seen_BHTE)) + layer.mlp(y_MD) + x_MD
    return phi.final_layernorm(x_MD)


def _behind(before: Sequence[Tensor], x_BHTE: Tensor) -> Tensor:
    """Per row [H, P, E] and then its own [H, T, E], as [B, H, P + T, E]; everything is copied once."""
    B, H, _, E = x_BHTE.shape
    parts = [part for row in zip(before, x_BHTE.unbind(0), strict=True) for part in row]
    return torch.cat(parts, dim=1).view(H, B, -1, E).transpose(0, 1)


@torch.no_grad()
def prefix_keys(model: LanguageModel, x_PD: Tensor) -> Tensor:
    """Keys and values [L, 2, H, P, E] of one prefix whose places all see each other, from its embeddings x_PD [P, D]."""
    phi = model.showo.model
    turn = Rotation(phi, x_PD, torch.arange(len(x_PD), device=x_PD.device))
    kept = []
    for number, layer in enumerate(phi.layers):
        y_PD = layer.input_layernorm(x_PD)
        k_HPE, v_HPE = (part.transpose(0, 1) for part in keys_values(layer.self_attn, y_PD, turn))
        kept.append(torch.stack([k_HPE, v_HPE]))
        if number + 1 < len(phi.layers):
            q_HPE = queries(layer.self_attn, y_PD, turn).transpose(0, 1)
            seen_HPE = Everything().attend(q_HPE[None], k_HPE[None], v_HPE[None])[0]
            x_PD = layer.self_attn.dense(seen_HPE.transpose(0, 1).flatten(1)) + layer.mlp(y_PD) + x_PD
    return torch.stack(kept)


class Rotation:
    """Rotary position embedding of the places of a batch, cos and sin [M, 1, R/2], for the first R of E."""

    def __init__(self, phi: Any, x_MD: Tensor, positions_M: Tensor) -> None:
        cos_1MR, sin_1MR = phi.rotary_emb(x_MD[None], positions_M[None])
        # Both halves of R turn by the same angles. A view would have other strides than `at` gives: another kernel.
        self.cos, self.sin = (part_1MR[0, :, None].chunk(2, dim=-1)[0].contiguous() for part_1MR in (cos_1MR, sin_1MR))

    def at(self, chosen_Q: Tensor) -> "Rotation":
        """The same for some of the places."""
        made = object.__new__(Rotation)
        made.cos, made.sin = self.cos[chosen_Q], self.sin[chosen_Q]
        return made

    def __call__(self, norm: Any, x_MHE: Tensor) -> Tensor:
        """Values [M, H, E], normalised and then turned."""
        if x_MHE.is_cuda and norm.weight.is_cuda:  # weights that wait elsewhere come when their module is called
            return _fused()(x_MHE, norm.weight, norm.bias, norm.eps, self.cos, self.sin)
        return turned(norm(x_MHE), self.cos, self.sin)


def turned(x_MHE: Tensor, cos_M1R: Tensor, sin_M1R: Tensor) -> Tensor:
    """Rotary position embedding of the first 2 R of E."""
    half = cos_M1R.shape[-1]
    first, second, kept = x_MHE.split([half, half, x_MHE.shape[-1] - 2 * half], dim=-1)
    return torch.cat([first * cos_M1R - second * sin_M1R, second * cos_M1R + first * sin_M1R, kept], dim=-1)


def normed_and_turned(
    x_MHE: Tensor, weight_E: Tensor, bias_E: Tensor, eps: float, cos_M1R: Tensor, sin_M1R: Tensor
) -> Tensor:
    """Layer norm over E, then `turned`."""
    return turned(functional.layer_norm(x_MHE, weight_E.shape, weight_E, bias_E, eps), cos_M1R, sin_M1R)


@cache
def _fused() -> Callable[..., Tensor]:
    """The same as one kernel, for GPUs: a dozen passes over memory, and norms of rows this short, take longer there than the
    products beside them. Compiled at the first call; the number of places stays open.
    """
    compiled = torch.compile(normed_and_turned)

    def work(x_MHE: Tensor, weight_E: Tensor, bias_E: Tensor, eps: float, cos_M1R: Tensor, sin_M1R: Tensor) -> Tensor:
        for tensor in (x_MHE, cos_M1R, sin_M1R):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return compiled(x_MHE, weight_E, bias_E, eps, cos_M1R, sin_M1R)

    return work


def keys_values(attention: Any, y_MD: Tensor, turn: Rotation) -> tuple[Tensor, Tensor]:
    """Keys, turned, and values [M, H, E], repeated where heads share them."""
    heads = (len(y_MD), -1, attention.head_dim)
    k_MHE = turn(attention.k_layernorm, attention.k_proj(y_MD).view(heads))
    v_MHE = attention.v_proj(y_MD).view(heads)
    groups = attention.num_key_value_groups
    return (k_MHE, v_MHE) if groups == 1 else (k_MHE.repeat_interleave(groups, 1), v_MHE.repeat_interleave(groups, 1))


def queries(attention: Any, y_MD: Tensor, turn: Rotation) -> Tensor:
    """Queries, turned, [M, H, E]."""
    return turn(attention.q_layernorm, attention.q_proj(y_MD).view(len(y_MD), -1, attention.head_dim))
