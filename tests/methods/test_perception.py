"""Generation as perception: which places count, and what of them starts rows."""

import numpy as np
import pytest
import torch
from PIL import Image

from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import Rows
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import PerceptionConfig, SamplingConfig
from unictokens.errors import ConfigError
from unictokens.images import to_tensor
from unictokens.methods.perception import PerceptionRequest, Sighting, paint, seen_rows, watch

LAYOUT = TokenLayout(shared=1, generation=1, understanding=1)


def look(backbone: ShowO, regions: str, images: int = 5) -> tuple[Sighting, ...]:
    generator = torch.Generator().manual_seed(0)
    D = backbone.info.width
    tokens = ConceptTokens(
        LAYOUT, torch.randn(3, D, generator=generator), torch.randn(3, D, generator=generator), torch.zeros(3)
    )
    config = PerceptionConfig(
        images=images, early_step=2, late_step=5, regions=regions, sampling=SamplingConfig(steps=8, guidance=1.0)
    )
    prompt = ("A photo of ", Rows((1, 2)), " ", Rows((0,)), ".")
    request = PerceptionRequest(tokens, prompt, config, tuple(range(images)))
    return watch(backbone, [request])[0]


def test_changed_regions_are_equation_5(tiny_backbone: ShowO) -> None:
    for sighting in look(tiny_backbone, "changed"):
        assert torch.equal(sighting.region_N, sighting.early_N != sighting.late_N)
        assert torch.equal(sighting.seen_N, sighting.final_N[sighting.region_N])
    assert any(sighting.region_N.any() for sighting in look(tiny_backbone, "changed"))


def test_pictures_of_many_runs_are_those_of_each_alone(tiny_backbone: ShowO) -> None:
    def request(seed: int, images: int, steps: int) -> PerceptionRequest:
        generator = torch.Generator().manual_seed(seed)
        rows_KD = torch.randn(3, tiny_backbone.info.width, generator=generator)
        config = PerceptionConfig(early_step=2, late_step=5, sampling=SamplingConfig(steps=steps, guidance=1.0))
        tokens = ConceptTokens(LAYOUT, rows_KD, rows_KD, torch.zeros(3))
        return PerceptionRequest(tokens, ("A ", Rows((0, 1, 2)), "."), config, tuple(range(seed, seed + images)))

    requests = [request(1, 3, 8), request(2, 6, 6), request(3, 5, 8)]
    together = watch(tiny_backbone, requests)
    assert [len(sightings) for sightings in together] == [3, 6, 5]
    for one, sightings in zip(requests, together, strict=True):
        for left, right in zip(watch(tiny_backbone, [one])[0], sightings, strict=True):
            assert torch.equal(left.final_N, right.final_N) and torch.equal(left.early_N, right.early_N)


def test_painted_regions_are_seen_as_white(tiny_backbone: ShowO) -> None:
    sightings = look(tiny_backbone, "painted")
    for sighting in sightings:
        assert torch.equal(sighting.region_N, sighting.late_N != sighting.final_N)
        assert sighting.seen_N.shape == sighting.final_N.shape
        assert torch.equal(tiny_backbone.encode(to_tensor(sighting.view)[None])[0], sighting.seen_N)
        pixels = np.array(sighting.view)
        cell = sighting.view.width // 4
        for at in sighting.region_N.nonzero()[:, 0].tolist():
            top, left = at // 4 * cell, at % 4 * cell
            assert (pixels[top : top + cell, left : left + cell] == 255).all()
    assert any(sighting.region_N.any() for sighting in sightings)


def test_a_picture_does_not_depend_on_how_many_are_drawn(tiny_backbone: ShowO) -> None:
    few, many = look(tiny_backbone, "changed", 2), look(tiny_backbone, "changed", 5)
    for mine, theirs in zip(few, many, strict=False):
        assert torch.equal(mine.final_N, theirs.final_N)


def test_rows_follow_the_given_order(tiny_backbone: ShowO) -> None:
    sightings = look(tiny_backbone, "painted", 3)
    rows_MD = seen_rows(tiny_backbone, sightings, (2, 0, 1))
    assert torch.equal(rows_MD[:16], tiny_backbone.image_rows(sightings[2].seen_N))


def test_painting_leaves_the_rest_as_it_was() -> None:
    region_N = torch.tensor([True, False, False, False])
    painted = np.array(paint(Image.new("RGB", (8, 8), (10, 20, 30)), region_N))
    assert (painted[:4, :4] == 255).all()
    assert (painted[4:] == [10, 20, 30]).all() and (painted[:4, 4:] == [10, 20, 30]).all()


def test_watched_steps_must_be_in_order() -> None:
    with pytest.raises(ConfigError, match="early_step < late_step"):
        PerceptionConfig(early_step=9, late_step=9)
