"""Cross-entropy over the frozen vocabulary and learned rows without ever holding all logits.

The frozen head takes no gradient, so what the backward pass needs of a row of frozen logits is one vector: the head's rows
weighted by their probabilities, less the label's. It is made while a few rows of logits exist; memory does not grow with
vocabulary times places.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.concepts.bank import ConceptBank

LOGITS_AT_ONCE = 2**23
"""Logits that exist at a time (32 MiB in float32); a GPU takes so many times more, as its products need many rows:"""
MORE_ON_GPU = 8
EVEN = 64
"""GPUs multiply matrices fast whose rows begin at multiples of this many numbers, and so many rows at a time:"""
EVEN_ROWS = 256


def label_losses(
    model: LanguageModel, h_QD: Tensor, bank: ConceptBank, concepts_QS: Tensor, columns_Q: Tensor
) -> Tensor:
    """Cross-entropies float32 [Q] of hidden states [Q, D] for the logit columns int64 [Q] of their labels.

    Columns are those of `LanguageModel.logits`: frozen ids, then the rows of the concepts named by concepts_QS int64 [Q, S].
    """
    learned_QK = model.learned_logits(h_QD, bank, concepts_QS)
    return cross_entropy(h_QD, learned_QK, model.head_VD, model.bias_V, columns_Q)


def cross_entropy(h_QD: Tensor, learned_QK: Tensor, head_VD: Tensor, bias_V: Tensor, columns_Q: Tensor) -> Tensor:
    """Cross-entropies float32 [Q] of logits (h @ head + bias, learned) [Q, V + K] for labels int64 [Q] in 0..V + K - 1.

    Gradients reach h_QD and learned_QK, and the head where it asks for them.
    """
    if head_VD.requires_grad or bias_V.requires_grad:
        logits_QV = functional.linear(h_QD, head_VD, bias_V).float()
        return functional.cross_entropy(torch.cat([logits_QV, learned_QK], dim=1), columns_Q, reduction="none")
    made: Any = _FrozenCrossEntropy.apply(h_QD, learned_QK, head_VD, bias_V, columns_Q)
    return made


class _FrozenCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h_QD: Tensor, learned_QK: Tensor, head_VD: Tensor, bias_V: Tensor, columns_Q: Tensor
    ) -> Tensor:
        V, columns = len(head_VD), len(head_VD) + learned_QK.shape[1]
        losses, slopes, learned_slopes = [], [], []
        step = rows_at_once(columns, h_QD.is_cuda)
        # One room for the logits of all steps: what is made anew each time costs a multiple of it, since allocators keep pieces.
        room_RL = learned_QK.new_empty(min(step, len(h_QD)), _even(columns))
        for h_PD, learned_PK, columns_P in zip(
            h_QD.split(step), learned_QK.split(step), columns_Q.split(step), strict=True
        ):
            logits_PL = room_RL[: len(h_PD), :columns]
            _frozen_logits(h_PD, head_VD, bias_V, logits_PL[:, :V])
            logits_PL[:, V:] = learned_PK
            label_P1 = logits_PL.gather(1, columns_P[:, None])
            most_P1 = logits_PL.amax(dim=1, keepdim=True)
            sums_P1 = logits_PL.sub_(most_P1).exp_().sum(dim=1, keepdim=True)
            losses.append((sums_P1.log() + most_P1 - label_P1)[:, 0])
            # The label's part is taken off before the product: afterwards two nearly equal vectors would cancel.
            logits_PL.scatter_add_(1, columns_P[:, None], -sums_P1)
            slopes.append(_weighted(logits_PL[:, :V], head_VD) / sums_P1.to(head_VD.dtype))
            learned_slopes.append(logits_PL[:, V:] / sums_P1)
        ctx.save_for_backward(torch.cat(slopes), torch.cat(learned_slopes))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        slopes_QD, learned_slopes_QK = ctx.saved_tensors
        gradient_Q1 = gradients[0][:, None]
        return (gradient_Q1 * slopes_QD).to(slopes_QD.dtype), gradient_Q1 * learned_slopes_QK, None, None, None


def rows_at_once(columns: int, on_gpu: bool) -> int:
    """Rows of logits that are made at a time."""
    if not on_gpu:
        return max(1, LOGITS_AT_ONCE // columns)
    return max(1, LOGITS_AT_ONCE * MORE_ON_GPU // columns // EVEN_ROWS) * EVEN_ROWS


def _even(columns: int) -> int:
    """The next multiple of EVEN, for rows that all begin at one."""
    return -(-columns // EVEN) * EVEN


def even_logits(h_PD: Tensor, head_VD: Tensor, bias_V: Tensor, logits_PV: Tensor) -> None:
    """h @ head + bias into [P, V], whose rows begin at even places.

    Show-o has 58,498 ids: rows of so many numbers begin where a GPU must take its slow way.
    """
    even = len(head_VD) - len(head_VD) % EVEN
    torch.addmm(bias_V[:even], h_PD, head_VD[:even].T, out=logits_PV[:, :even])
    logits_PV[:, even:] = functional.linear(h_PD, head_VD[even:], bias_V[even:])


def even_weighted(slopes_PV: Tensor, head_VD: Tensor) -> Tensor:
    """slopes @ head, [P, D], in the head's dtype, for the same reason in two parts."""
    even = len(head_VD) - len(head_VD) % EVEN
    rest_PD = slopes_PV[:, even:].to(head_VD.dtype) @ head_VD[even:]
    main_PV = slopes_PV[:, :even].to(head_VD.dtype, memory_format=torch.contiguous_format)
    return torch.addmm(rest_PD, main_PV, head_VD[:even])


def _frozen_logits(h_PD: Tensor, head_VD: Tensor, bias_V: Tensor, logits_PV: Tensor) -> None:
    """h @ head + bias into float32 [P, V] whose rows begin at even places."""
    if head_VD.dtype != logits_PV.dtype:
        made_PV = h_PD.new_empty(len(h_PD), _even(len(head_VD)))[:, : len(head_VD)]
        even_logits(h_PD, head_VD, bias_V, made_PV)
        logits_PV.copy_(made_PV)
    elif h_PD.is_cuda:
        even_logits(h_PD, head_VD, bias_V, logits_PV)
    else:
        torch.addmm(bias_V, h_PD, head_VD.T, out=logits_PV)


def _weighted(slopes_PV: Tensor, head_VD: Tensor) -> Tensor:
    return even_weighted(slopes_PV, head_VD) if slopes_PV.is_cuda else slopes_PV.to(head_VD.dtype) @ head_VD
