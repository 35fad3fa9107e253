"""What the base can do apart from concepts: counted over held-out photos, the same with rows that nobody names."""

import pytest
import torch

from unictokens.backbones import load_backbone
from unictokens.backbones.base import Backbone
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.evaluation.ability import DRAWINGS, INTRODUCED, QUESTIONS, AbilitySettings, Share, measure_ability
from unictokens.evaluation.toyland_reader import ToylandReader

FEW = AbilitySettings(photos=4, drawings=4, steps=8)
LAYOUT = TokenLayout(shared=2, generation=1, understanding=1)


@pytest.fixture(scope="module")
def mini() -> Backbone:
    return load_backbone("mini")


@pytest.fixture(scope="module")
def bare(mini: Backbone) -> dict[str, Share]:
    return measure_ability(mini, None, FEW, ToylandReader())


def rows(mini: Backbone, bias: float) -> ConceptBundle:
    """A concept of image codes in the input, whose output rows win where `bias` is high."""
    embed_KD, (head_KD, bias_K) = (
        mini.image_rows(torch.arange(LAYOUT.total)),
        mini.head_rows(torch.arange(LAYOUT.total)),
    )
    card = ConceptCard(name="bo", class_word="dog", layout=LAYOUT, backbone=BackboneStamp.of(mini.info))
    return ConceptBundle(ConceptTokens(LAYOUT, embed_KD, head_KD, bias_K + bias), card)


def test_the_bare_base_knows_its_world(bare: dict[str, Share]) -> None:
    assert set(bare) == {QUESTIONS, DRAWINGS}, "nothing introduces the bare base"
    assert 4 * 4 <= bare[QUESTIONS].asked <= 4 * 7, "not every photo has every kind of question"
    assert bare[QUESTIONS].right >= 12
    assert bare[DRAWINGS].asked == 4 * 5 and bare[DRAWINGS].right >= 10


def test_rows_that_nobody_names_change_nothing(mini: Backbone, bare: dict[str, Share]) -> None:
    found = measure_ability(mini, rows(mini, bias=-30.0), FEW, ToylandReader())
    assert {name: found[name] for name in bare} == bare
    assert found[INTRODUCED].asked == bare[QUESTIONS].asked


def test_rows_that_win_in_the_head_are_noticed(mini: Backbone, bare: dict[str, Share]) -> None:
    assert measure_ability(mini, rows(mini, bias=1e4), FEW, ToylandReader())[QUESTIONS].right == 0
