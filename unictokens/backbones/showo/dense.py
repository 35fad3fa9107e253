"""The transformer over rows of one length, where whoever calls it keeps keys and values and decides who sees what.

The layers are the loaded Phi's own modules, as in `layers`. Shape letters beside the house's: R rows of a pass, H heads,
E width of a head, L layers, S places that are seen, K keys (0) and values (1).

A row's numbers should not depend on its neighbours, to the last bit. In float32 on the CPU they do not if a product has at
least LEAST_ROWS rows (fewer take another kernel) and if attention reads a multiple of KEYS_ROUND places, unseen ones last:
kernels add up in vectors of that length, and zeros at the end change no sum.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.layers import Rotation, keys_values, queries

LEAST_ROWS = 4
KEYS_ROUND = 16

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries, keys, values of this pass, each [R, H, T, E]) to what the queries see, [R, H, T, E]."""


def rounded(places: int, to: int = KEYS_ROUND) -> int:
    """The next multiple of `to`."""
    return -(-places // to) * to


def through_layers(model: LanguageModel, x_RTD: Tensor, positions_RT: Tensor, attend: Attend) -> Tensor:
    """Embeddings [R, T, D] at positions int64 [R, T] to final hidden states [R, T, D]."""
    phi, (R, T, _) = model.showo.model, x_RTD.shape
    x_MD = x_RTD.flatten(0, 1)
    turn = Rotation(phi, x_MD, positions_RT.flatten())
    for number, layer in enumerate(phi.layers):
        y_MD = layer.input_layernorm(x_MD)
        parts = (queries(layer.self_attn, y_MD, turn), *keys_values(layer.self_attn, y_MD, turn))
        q_RHTE, k_RHTE, v_RHTE = (part.view(R, T, *part.shape[1:]).transpose(1, 2) for part in parts)
        seen_RHTE = attend(number, q_RHTE, k_RHTE, v_RHTE)
        x_MD = layer.self_attn.dense(seen_RHTE.transpose(1, 2).reshape(R * T, -1)) + layer.mlp(y_MD) + x_MD
    return phi.final_layernorm(x_MD).view(R, T, -1)


def frozen_logits(model: LanguageModel, h_MD: Tensor, first: int, last: int) -> Tensor:
    """Logits float32 [M, last - first] of the frozen ids first..last-1 for hidden states [M, D]; few take the way of many."""
    M = len(h_MD)
    if M < LEAST_ROWS:
        h_MD = functional.pad(h_MD, (0, 0, 0, LEAST_ROWS - M))
    return model.frozen_logits(h_MD, first, last)[:M]


def look(q_RHTE: Tensor, k_RHSE: Tensor, v_RHSE: Tensor, mask: Tensor) -> Tensor:
    """Attention under a bool mask [R or 1, 1, T or 1, S]."""
    return functional.scaled_dot_product_attention(q_RHTE, k_RHSE, v_RHSE, attn_mask=mask)


def read(model: LanguageModel, x_TD: Tensor, first: int, before_LKHPE: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Read one text: its last final hidden state [D], and its keys and values [L, 2, H, T, E].

    x_TD          embeddings [T, D]; each place sees what stands before it, itself, and all of `before_LKHPE`
    first         position number of the first place
    before_LKHPE  keys and values [L, 2, H, P, E] of what was read before
    """
    T, P = len(x_TD), 0 if before_LKHPE is None else before_LKHPE.shape[3]
    mask = torch.ones(T, P + T, dtype=torch.bool, device=x_TD.device).tril(P)[None, None]
    kept: list[Tensor] = []

    def attend(number: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept.append(torch.stack([k[0], v[0]]))
        if before_LKHPE is not None:
            k = torch.cat([before_LKHPE[number, :1], k], dim=2)
            v = torch.cat([before_LKHPE[number, 1:], v], dim=2)
        return look(q, k, v, mask)

    positions_1T = torch.arange(first, first + T, device=x_TD.device)[None]
    h_1TD = through_layers(model, x_TD[None], positions_1T, attend)
    return h_1TD[0, -1], torch.stack(kept)
