"""Choosing the next token of an answer from logits, as pure functions (Show-o's `mmu_generate`)."""

import torch
from torch import Generator, Tensor


def next_tokens(logits_BV: Tensor, top_k: int, temperature: float, generator: Generator | None = None) -> Tensor:
    """Columns int64 [B] chosen from logits float32 [B, V].

    The largest logit when `top_k` is 1; else a draw from the softmax of the `top_k` largest (ties at the k-th value stay in)
    divided by `temperature`, with `generator` (where it lives, so that a seed means the same on every device) or, without
    one, torch's global generator.
    """
    if top_k == 1:
        return logits_BV.argmax(dim=1)
    scaled_BV = logits_BV / temperature
    kth_B1 = scaled_BV.topk(min(top_k, scaled_BV.shape[1]), dim=1).values[:, -1:]
    probs_BV = scaled_BV.masked_fill(scaled_BV < kth_B1, float("-inf")).softmax(dim=1)
    if generator is None:
        return torch.multinomial(probs_BV, 1)[:, 0]
    drawn_B1 = torch.multinomial(probs_BV.to(generator.device), 1, generator=generator)
    return drawn_B1[:, 0].to(logits_BV.device)
