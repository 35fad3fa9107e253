"""How much a setting alone explains of what trials differ in: the share of variance between its levels, corrected for chance.

A range is cut into thirds of the trials by order. The correction (epsilon squared) makes the share of a setting without influence
zero on average, whatever the number of levels; with few trials it is rough, and interactions are in nobody's share.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tune_spaces.domain import Choice, Domain

LEVELS = 3
LEAST = 6
"""Trials below which nothing is said."""


def importance(
    domains: Mapping[str, Domain], samples: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> dict[str, float]:
    """Shares of 0 to 1 by path, the greatest first; empty of too few trials or equal values."""
    if len(values) < LEAST or max(values) == min(values):
        return {}
    shares = {
        path: _share(_levels(domain, [sample[path] for sample in samples]), values) for path, domain in domains.items()
    }
    return dict(sorted(shares.items(), key=lambda each: -each[1]))


def _levels(domain: Domain, taken: Sequence[Any]) -> list[int]:
    """The level of each trial."""
    if isinstance(domain, Choice):
        return [domain.values.index(value) for value in taken]
    known = sorted(set(taken))
    if len(known) <= LEVELS:
        return [known.index(value) for value in taken]
    order = sorted(taken)
    return [order.index(value) * LEVELS // len(order) for value in taken]


def _share(levels: Sequence[int], values: Sequence[float]) -> float:
    groups = [[value for value, level in zip(values, levels, strict=True) if level == each] for each in set(levels)]
    if len(groups) < 2 or len(groups) == len(values):
        return 0.0
    mean = fmean(values)
    whole = sum((value - mean) ** 2 for value in values)
    within = sum(sum((value - fmean(group)) ** 2 for value in group) for group in groups)
    left = (within / (len(values) - len(groups))) / (whole / (len(values) - 1))
    return max(0.0, 1.0 - left)
