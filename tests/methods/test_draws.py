"""Random numbers depend on what they are for, never on what was drawn before."""

import math

import torch

from unictokens.methods.draws import Place, SeededDraws, derive, draw_mask


def test_same_place_same_mask_whatever_came_before() -> None:
    draws = SeededDraws(3)
    place = Place("bootstrap", 2, 5)
    first = draws.masks(place, 2, 64, 0.5)
    draws.masks(Place("bootstrap", 1, 1), 4, 64, 0.5)
    again = SeededDraws(3).masks(place, 2, 64, 0.5)
    for mine, theirs in zip(first, again, strict=True):
        assert torch.equal(mine.masked_N, theirs.masked_N) and mine.dropped == theirs.dropped
    assert not torch.equal(first[0].masked_N, first[1].masked_N)


def test_other_step_other_mask() -> None:
    masks = [SeededDraws(0).masks(Place("bootstrap", 1, step), 1, 256, 0.0)[0].masked_N for step in (1, 2)]
    assert not torch.equal(*masks)


def test_masks_follow_the_cosine_schedule_and_hide_at_least_one() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = [draw_mask(64, 0.1, generator) for _ in range(2000)]
    counts = torch.tensor([draw.masked_N.sum().item() for draw in shares]).float()
    assert counts.min() >= 1
    # The mean of cos(pi u / 2) over u in [0, 1] is 2 / pi.
    assert abs(counts.mean().item() / 64 - 2 / math.pi) < 0.02
    assert abs(sum(draw.dropped for draw in shares) / 2000 - 0.1) < 0.03


def test_perception_pictures_have_neighbouring_seeds() -> None:
    draws = SeededDraws(1)
    assert draws.perception_seed(4) - draws.perception_seed(0) == 4
    assert draws.perception_seed(0) != SeededDraws(2).perception_seed(0)


def test_flip_probability_is_the_effective_one() -> None:
    flips = SeededDraws(0).flips("warmup", 2000, 0.25)
    assert abs(sum(flips) / 2000 - 0.25) < 0.04
    assert not any(SeededDraws(0).flips("warmup", 50, 0.0))


def test_derived_seeds_differ_by_purpose() -> None:
    seeds = {derive(0, *purpose) for purpose in (("a",), ("a", 1), ("b",), ("a", 2))}
    assert len(seeds) == 4 and all(0 <= seed < 2**63 for seed in seeds)
