"""Small bundles of random rows."""

from collections.abc import Callable

import pytest
import torch

from unictokens.concepts.bundle import ConceptBundle, present_groups
from unictokens.concepts.card import BackboneStamp, ConceptCard, PromptTemplates, Provenance
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens

WIDTH = 6
LAYOUT = TokenLayout(shared=3, generation=2, understanding=2)
BACKBONE = BackboneStamp(name="tiny", width=WIDTH, vocabulary=50, fingerprint="a" * 64)


def make_bundle(
    rows: int = LAYOUT.total, layout: TokenLayout = LAYOUT, name: str = "bo", config_hash: str = ""
) -> ConceptBundle:
    """A bundle of random rows."""
    generator = torch.Generator().manual_seed(rows)
    tokens = ConceptTokens(
        layout,
        torch.randn(rows, WIDTH, generator=generator),
        torch.randn(rows, WIDTH, generator=generator),
        torch.randn(rows, generator=generator),
    )
    last = present_groups(tokens)[-1]
    soft = ("shared", "understanding") if last == "understanding" else ("shared",)
    drawing = ("shared", "generation") if last != "shared" else ("shared",)
    card = ConceptCard(
        name=name,
        class_word="dog",
        layout=layout,
        backbone=BACKBONE,
        templates=PromptTemplates.of(layout, soft, drawing),
        provenance=Provenance(config={"seed": 3}, config_hash=config_hash, seed=3, stage="deepen", epoch=20),
    )
    return ConceptBundle(tokens, card)


@pytest.fixture
def bundle() -> Callable[..., ConceptBundle]:
    """Makes a bundle: `bundle(rows, layout, name, config_hash)`, all optional."""
    return make_bundle
