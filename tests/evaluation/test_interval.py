"""Intervals by hand: the unit is the concept, seeds are averaged, differences are paired."""

from math import sqrt

import pytest

from unictokens.evaluation.interval import Estimate, apart, difference, estimate


def test_seeds_are_averaged_before_concepts() -> None:
    # Concept means 0.5, 0.7, 0.9: mean 0.7, deviation 0.2, t(2) = 4.302653.
    found = estimate({"bo": [0.4, 0.6], "miru": [0.7], "tavo": [0.8, 0.9, 1.0]})
    assert found is not None
    assert found.mean == pytest.approx(0.7) and (found.concepts, found.values) == (3, 6)
    assert found.half == pytest.approx(4.302653 * 0.2 / sqrt(3), rel=1e-6)


def test_more_seeds_of_one_concept_do_not_narrow_the_interval() -> None:
    few, many = estimate({"a": [0.0], "b": [1.0]}), estimate({"a": [0.0] * 50, "b": [1.0] * 50})
    assert few is not None and many is not None and few.half == many.half
    assert few.half == pytest.approx(12.706205 * sqrt(0.5) / sqrt(2), rel=1e-6)


def test_one_concept_has_no_interval_and_none_has_no_mean() -> None:
    assert estimate({"bo": [0.5, 0.7]}) == Estimate(0.6, None, 1, 2)
    assert estimate({}) is None and estimate({"bo": []}) is None


def test_a_paired_difference_takes_the_concepts_difficulty_out() -> None:
    easy_and_hard = {"easy": [0.9], "hard": [0.3], "middle": [0.6]}
    better = {concept: [values[0] + 0.05] for concept, values in easy_and_hard.items()}
    gain = difference(better, easy_and_hard)
    assert gain is not None and gain.mean == pytest.approx(0.05) and gain.half == pytest.approx(0.0, abs=1e-12)
    wide = estimate(easy_and_hard)
    assert wide is not None and wide.half is not None and wide.half > 0.7


def test_concepts_that_only_one_has_are_not_compared() -> None:
    gain = difference({"a": [0.5], "b": [0.9], "c": []}, {"a": [0.4, 0.2], "c": [0.1], "d": [0.0]})
    assert gain is not None and gain.mean == pytest.approx(0.2)
    assert (gain.half, gain.concepts, gain.values) == (None, 1, 3)
    assert difference({"a": [1.0]}, {"b": [1.0]}) is None


def test_apart_needs_two_intervals() -> None:
    low, high = Estimate(0.5, 0.1, 5, 5), Estimate(0.71, 0.1, 5, 5)
    assert apart(high, low) is True and apart(low, high) is False
    assert apart(Estimate(0.69, 0.1, 5, 5), low) is False
    assert apart(Estimate(0.9, None, 1, 1), low) is None
