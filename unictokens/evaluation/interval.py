"""Means with 95 % intervals over concepts, and paired differences.

The unit is the concept: what is to be said is how a way of teaching does on concepts that one might teach. Runs of one concept with
other seeds are averaged first, because they are not new concepts; then a Student t interval is taken over the concepts. Two ways
are compared by their difference on each concept that both have, which takes the concepts' own difficulty out. The only file that
imports scipy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from unictokens.errors import DependencyError

CONFIDENCE = 0.95

Values = Mapping[str, Sequence[float]]
"""Concept to its values, one per seed."""


@dataclass(frozen=True)
class Estimate:
    """A mean over concepts and half the width of its 95 % interval; `half` is None for a single concept.

    values  how many numbers went in, seeds counted
    """

    mean: float
    half: float | None
    concepts: int
    values: int

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half is None else self.mean + self.half


def estimate(values: Values) -> Estimate | None:
    """The mean of the concepts' means; None of nothing. Concepts without values are left out."""
    means = [fmean(each) for each in values.values() if each]
    if not means:
        return None
    return Estimate(fmean(means), _half(means), len(means), sum(map(len, values.values())))


def difference(first: Values, second: Values) -> Estimate | None:
    """`first` minus `second`, paired over the concepts that both have; None when they share none."""
    both = [concept for concept in first if first[concept] and second.get(concept)]
    pairs = {concept: [fmean(first[concept]) - fmean(second[concept])] for concept in both}
    found = estimate(pairs)
    if found is None:
        return None
    counted = sum(len(first[concept]) + len(second[concept]) for concept in both)
    return Estimate(found.mean, found.half, found.concepts, counted)


def apart(higher: Estimate, lower: Estimate) -> bool | None:
    """Whether the interval of the one lies wholly above that of the other; None where one has no interval."""
    if higher.low is None or lower.high is None:
        return None
    return higher.low > lower.high


def _half(means: Sequence[float]) -> float | None:
    if len(means) < 2:
        return None
    return student(len(means) - 1) * stdev(means) / sqrt(len(means))


def student(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t. Raises DependencyError without scipy."""
    try:
        from scipy.stats import t
    except ModuleNotFoundError as error:
        raise DependencyError("intervals need the library 'scipy': pip install scipy") from error
    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))
