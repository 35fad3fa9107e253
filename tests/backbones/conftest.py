"""Random concepts and samples for the tiny Show-o."""

from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from unictokens.backbones.base import MaskDraw
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens

LAYOUT = TokenLayout(shared=3, generation=2, understanding=2)
WIDTH, CODES, CODE_BOOK = 32, 16, 64


def make_concept(seed: int, layout: TokenLayout = LAYOUT) -> ConceptTokens:
    """Rows large enough to matter beside the random base."""
    generator = Generator().manual_seed(seed)
    K = layout.total
    return ConceptTokens(
        layout,
        torch.randn(K, WIDTH, generator=generator) * 0.3,
        torch.randn(K, WIDTH, generator=generator) * 0.3,
        torch.randn(K, generator=generator),
    )


def make_codes(seed: int) -> Tensor:
    return torch.randint(CODE_BOOK, (CODES,), generator=Generator().manual_seed(seed))


def make_mask(seed: int, dropped: bool = False) -> MaskDraw:
    masked_N = torch.rand(CODES, generator=Generator().manual_seed(seed)) < 0.6
    masked_N[0] = True
    return MaskDraw(masked_N, dropped)


@pytest.fixture
def layout() -> TokenLayout:
    return LAYOUT


@pytest.fixture
def concept() -> Callable[..., ConceptTokens]:
    return make_concept


@pytest.fixture
def codes() -> Callable[[int], Tensor]:
    return make_codes


@pytest.fixture
def mask_draw() -> Callable[..., MaskDraw]:
    return make_mask
