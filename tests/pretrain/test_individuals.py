"""Rows that stand for individuals hold their looks and facts, and give nothing away by themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unictokens.concepts.prompt import Rows
from unictokens.data.toyland.world import Fact, random_facts, random_subject
from unictokens.pretrain.individuals import (
    DIRECTIONS,
    NO_ID,
    ROWS,
    SOFT,
    Directions,
    Held,
    Individual,
    directions_of,
    individual,
)

WORD, SEEN = [7], list(range(20, 36))


def somebody(seed: int, seen: list[int]) -> Individual:
    rng = np.random.default_rng(seed)
    subject = replace(random_subject(rng), facts=random_facts(rng, 2))
    return individual(subject, WORD, seen, rng)


def test_every_look_and_fact_has_a_direction_of_its_own() -> None:
    rng = np.random.default_rng(0)
    subjects = [replace(random_subject(rng), facts=random_facts(rng, 2)) for _ in range(300)]
    held = [directions_of(subject) for subject in subjects]
    assert {at for each in held for at in each} <= set(range(DIRECTIONS))
    assert all(len(set(each)) == len(each) for each in held)
    hat = replace(subjects[0], facts=(Fact("owns", accessory="hat", colour="red"),))
    scarf = replace(subjects[0], facts=(Fact("owns", accessory="scarf", colour="red"),))
    assert len(set(directions_of(hat)) ^ set(directions_of(scarf))) == 2


@pytest.mark.parametrize("seed", range(20))
def test_rows_hold_all_directions_in_equal_parts_or_none(seed: int) -> None:
    met = somebody(seed, SEEN)
    whole_F = met.shares_KF.sum(axis=0)
    held = np.flatnonzero(whole_F)
    assert held.tolist() in ([], sorted(directions_of(met.subject)))
    assert np.allclose(whole_F[held], whole_F[held][:1]) and (met.shares_KF[met.soft + 1 :] == 0).all()
    assert set(met.sights_KS[1:].flatten()) <= {*SEEN, NO_ID} and met.sights_KS[0, 0] == WORD[0]
    assert met.soft in SOFT and met.prompt["soft"] == (Rows(tuple(range(1, met.soft + 1))),)


def test_without_another_photo_rows_hold_what_words_cannot_say() -> None:
    for seed in range(20):
        met = somebody(seed, [])
        assert met.shares_KF.any() and (met.sights_KS[1:] == NO_ID).all()


def test_bank_is_the_sum_of_what_is_held() -> None:
    torch.manual_seed(0)
    met = somebody(3, SEEN)
    held = Held.of([None, met], 8, np.random.default_rng(1))
    directions, embed_VD = Directions(8), torch.randn(40, 8)
    bank = directions(held, embed_VD)
    assert bank.embed_CKD.shape == (2, ROWS, 8) and not bank.embed_CKD[0].any()
    seen = [row for row in range(1, met.soft + 1) if (met.sights_KS[row] != NO_ID).all()]
    for row in (0, *seen):
        ids = [at for at in met.sights_KS[row].tolist() if at != NO_ID]
        expected_D = torch.from_numpy(met.shares_KF[row]) @ directions.directions_FD + embed_VD[ids].mean(0)
        assert torch.allclose(bank.embed_CKD[1, row], expected_D + held.noise_BKD[1, row], atol=1e-5)
