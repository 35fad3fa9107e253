"""The recipe of the small CLIP makes a folder that open_clip brings back, and a card with what was measured."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unictokens.backbones.showo.weights import load
from unictokens.encoders.clip import Clip
from unictokens.pretrain.album import GROUP, jitter, make_album
from unictokens.pretrain.picture_text import (
    ClipRecipe,
    caption_loss,
    measure_clip,
    picture_caption,
    train_clip,
    twin_loss,
    write_clip,
)
from unictokens.pretrain.pool import to_network


def test_a_short_training_survives_its_folder(tmp_path: Path) -> None:
    recipe = ClipRecipe(groups=4, held_out=2, steps=3, batch_groups=2, width=8, text_width=16, text_layers=1, embed=16)
    backbone = load("mini")
    net = train_clip(backbone, recipe, tmp_path)
    found = measure_clip(net, backbone, recipe)
    write_clip(tmp_path / "clip", net, recipe, found)
    assert f"| roster: nearest | {found['roster: nearest']:.3f} |" in (tmp_path / "clip/MODEL_CARD.md").read_text()
    clip, album = Clip(str(tmp_path / "clip")), make_album(backbone, range(recipe.groups), tmp_path)
    with torch.no_grad():
        expected = net.encode_image(to_network(album.drawn_PHWC[:3]), normalize=True)  # type: ignore[operator]
    seen = clip.pictures([Image.fromarray(pixels) for pixels in album.drawn_PHWC[:3]])
    assert torch.allclose(seen, expected, atol=0.02)  # half precision on disk
    assert torch.equal(clip.texts(["guitar"]), clip.texts(["cathedral"]))  # words that no caption has say nothing


def test_an_album_is_made_once_and_has_twins_and_lookalikes(tmp_path: Path) -> None:
    backbone = load("mini")
    album = make_album(backbone, range(3), tmp_path)
    again = make_album(backbone, range(3), tmp_path)
    assert np.array_equal(album.rebuilt_PHWC, again.rebuilt_PHWC) and len(list(tmp_path.iterdir())) == 1
    for at in range(0, len(album.photos), GROUP):
        first, twin, other, other_twin = (photo.subject.fine for photo in album.photos[at : at + GROUP])
        assert first == twin and other == other_twin and first != other
    moved = jitter(to_network(album.drawn_PHWC), np.random.default_rng(0))
    assert moved.shape == (12, 3, 64, 64) and float(moved.abs().max()) <= 1.0
    assert not torch.equal(moved, to_network(album.drawn_PHWC))
    rng = np.random.default_rng(1)
    assert all(photo.subject.cls in picture_caption(photo, rng) for photo in album.photos)


def test_losses_are_the_hand_computed_ones() -> None:
    units = torch.eye(4)
    assert float(caption_loss(units, units, torch.tensor(100.0))) < 1e-6
    assert math.isclose(
        float(caption_loss(units, units.flip(0), torch.tensor(1.0))), math.log(3 + math.e), rel_tol=1e-5
    )
    twins = torch.eye(2).repeat_interleave(2, 0)  # two pairs of equal pictures: e^1 against two e^0
    assert math.isclose(float(twin_loss(twins, 1.0)), math.log(1 + 2 / math.e), rel_tol=1e-5)
