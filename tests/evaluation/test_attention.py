"""Where tokens look: weights of the real transformer, which computes the same as ever afterwards."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unictokens.backbones.base import AnswerRequest, Decoding
from unictokens.backbones.showo.attention import understanding_mask
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError
from unictokens.evaluation.attention import gaze, overlay

LAYOUT = TokenLayout(shared=3, generation=2, understanding=2)


@pytest.fixture
def bundle(tiny_backbone: ShowO) -> ConceptBundle:
    rows = torch.randn(LAYOUT.total, tiny_backbone.info.width, generator=torch.Generator().manual_seed(1))
    tokens = ConceptTokens(LAYOUT, rows, rows.clone(), torch.zeros(LAYOUT.total))
    card = ConceptCard(name="bo", class_word="dog", layout=LAYOUT, backbone=BackboneStamp.of(tiny_backbone.info))
    return ConceptBundle(tokens, card)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    return tmp_path / "0.png"


def test_weights_are_those_that_make_the_hidden_states(tiny_backbone: ShowO) -> None:
    model = tiny_backbone.language_model
    x_BTD = torch.randn(1, 9, model.width, generator=torch.Generator().manual_seed(0))
    mask = understanding_mask(4, 9)
    before = model.hidden(x_BTD, mask)
    layers = model.attention_weights(x_BTD, mask)
    assert len(layers) == 2 and layers[0].shape == (1, 2, 9, 9)
    for weights in layers:
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 9))
        assert float(weights[..., ~mask[0, 0]].abs().max()) == 0.0, "what is hidden gets nothing"
    assert model.attention == "sdpa" and torch.equal(model.hidden(x_BTD, mask), before)


def test_a_gaze_has_a_weight_per_image_place(tiny_backbone: ShowO, bundle: ConceptBundle, photo: Path) -> None:
    found = gaze(tiny_backbone, bundle, photo)
    assert found.tokens_N.shape == found.answer_N.shape == (16,)
    assert all(0 < share < 1 for share in found.share)
    request = AnswerRequest(("Is it here?",), None, (0,))
    bare = tiny_backbone.attention(request, ConceptBank.empty(tiny_backbone.info.width))
    assert not bool(bare.learned_T.any()) and bare.weights_LHTN.shape[:2] == (2, 2)
    assert tiny_backbone.answer([request], ConceptBank.empty(tiny_backbone.info.width), Decoding(max_tokens=2))


def test_rows_of_another_backbone_are_refused(tiny_backbone: ShowO, bundle: ConceptBundle, photo: Path) -> None:
    stamp = replace(bundle.card.backbone, fingerprint="another")
    with pytest.raises(ConceptError, match="learned on backbone"):
        gaze(tiny_backbone, ConceptBundle(bundle.tokens, replace(bundle.card, backbone=stamp)), photo)


def test_the_overlay_is_brightest_where_the_weight_is(photo: Path) -> None:
    weights_N = torch.zeros(16)
    weights_N[3] = 0.2  # first row, last column
    picture = np.array(overlay(photo, weights_N, 32)).astype(int)
    assert picture.shape == (128, 128, 3)
    warm = picture[:, :, 0] - picture[:, :, 2]
    assert warm[:32, 96:].mean() > warm[:32, :96].mean() + 50 and warm[:32, 96:].mean() > warm[32:].mean() + 50


def test_every_place_of_an_even_gaze_is_alike(photo: Path, bundle: ConceptBundle, tiny_backbone: ShowO) -> None:
    check: Callable[[torch.Tensor], Image.Image] = lambda weights: overlay(photo, weights, 32)  # noqa: E731
    assert check(torch.full((16,), 0.01)).tobytes() == check(torch.full((16,), 0.5)).tobytes()
