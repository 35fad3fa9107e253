"""Who sees whom: boolean masks [B, 1, T, T], row = query, True = may attend (Show-o section 3.2, "omni-attention")."""

import torch
from torch import Tensor


def causal_mask(length: int) -> Tensor:
    """bool [1, 1, T, T]: every place sees itself and what stands before it."""
    return torch.ones(length, length, dtype=torch.bool).tril()[None, None]


def drawing_mask(ids_BT: Tensor, pad: int, soi: int, eoi: int, keep_padding: bool = False) -> Tensor:
    """Mask of drawing sequences: text is causal, the image (its start and end included) sees everything.

    Padding, on the left, is seen only by itself, so that no row is empty; `keep_padding` lets everybody see it. A sequence
    without an image gets a causal mask. ids int64 [B, T] to bool [B, 1, T, T].
    """
    B, T = ids_BT.shape
    starts_BT, ends_BT = (ids_BT == soi).cumsum(1), (ids_BT == eoi).cumsum(1)
    image_BT = (starts_BT > 0) & ((ends_BT == 0) | (ids_BT == eoi))
    seen_BTT = torch.ones(T, T, dtype=torch.bool, device=ids_BT.device).tril() | image_BT[:, :, None]
    if not keep_padding:
        padding_BT = ids_BT == pad
        seen_BTT = seen_BTT & (~padding_BT[:, None, :] | padding_BT[:, :, None])
    return seen_BTT.view(B, 1, T, T)


def understanding_mask(prefix: int, length: int, device: torch.device | None = None) -> Tensor:
    """bool [1, 1, T, T]: every place sees the first `prefix` places (task and image); the text after them is causal."""
    seen_TT = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    seen_TT[:, :prefix] = True
    return seen_TT[None, None]


def packed_mask(prefix: int, turns_BT: Tensor) -> Tensor:
    """bool [B, 1, T, T]: as `understanding_mask`, but text sees only the text of its own turn.

    turns_BT int64 [B, T] numbers the turn a place belongs to; so many conversations about one image share its places.
    """
    seen_TT = understanding_mask(prefix, turns_BT.shape[1], turns_BT.device)[0, 0]
    same_BTT = turns_BT[:, :, None] == turns_BT[:, None, :]
    same_BTT[:, :, :prefix] = True
    return (seen_TT & same_BTT)[:, None]
