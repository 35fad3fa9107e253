"""Choosing the next token."""

import torch
from torch import Generator

from unictokens.sampling.text import next_tokens


def test_greedy_takes_the_largest() -> None:
    assert next_tokens(torch.tensor([[0.1, 3.0, 2.0], [5.0, 3.0, 2.0]]), 1, 1.0).tolist() == [1, 0]


def test_top_k_never_leaves_the_k_largest() -> None:
    logits_BV = torch.tensor([[4.0, 3.9, 3.8, 3.7]]).expand(2000, 4)
    drawn = next_tokens(logits_BV, 2, 1.0, Generator().manual_seed(0))
    assert set(drawn.tolist()) == {0, 1}


def test_same_generator_same_tokens() -> None:
    logits_BV = torch.randn(4, 50, generator=Generator().manual_seed(1))
    first = next_tokens(logits_BV, 5, 0.8, Generator().manual_seed(2))
    assert torch.equal(first, next_tokens(logits_BV, 5, 0.8, Generator().manual_seed(2)))
