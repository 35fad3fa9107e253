"""Concepts of different sizes share a bank without disturbing each other."""

import pytest
import torch

from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError


def tokens(rows: int, width: int = 4) -> ConceptTokens:
    generator = torch.Generator().manual_seed(rows)
    embed_KD, head_KD = torch.randn(2, rows, width, generator=generator)
    return ConceptTokens(TokenLayout(), embed_KD, head_KD, torch.zeros(rows))


def test_padding_never_takes_probability() -> None:
    bank = ConceptBank.stack([tokens(3), tokens(5)])
    assert bank.embed_CKD.shape == (2, 5, 4) and bank.rows_C.tolist() == [3, 5]
    assert torch.isneginf(bank.bias_CK[0, 3:]).all() and torch.isfinite(bank.bias_CK[1]).all()


def test_gradients_reach_the_stacked_rows() -> None:
    leaf = tokens(3).embed_KD.requires_grad_()
    one = ConceptTokens(TokenLayout(), leaf, *tokens(3).tensors()[1:])
    ConceptBank.stack([one, tokens(5)]).embed_CKD.sum().backward()
    assert leaf.grad is not None and bool((leaf.grad == 1).all())


def test_misfits_are_refused() -> None:
    with pytest.raises(ConceptError, match="widths"):
        ConceptBank.stack([tokens(3, 4), tokens(3, 8)])
    with pytest.raises(ConceptError):
        ConceptBank.stack([])
    with pytest.raises(ConceptError, match="34 rows"):
        tokens(34)
