"""What a table is expected to show, as data that can be checked: each claim says by itself whether it holds, and why.

A claim is about means over concepts; differences are paired (see `unictokens.evaluation.interval`). Where a number that it needs is
absent, its verdict is absent too; where a difference may as well be on the other side of what is claimed, it is undecided.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from unictokens.evaluation.interval import Estimate, Values, apart, difference, estimate
from unictokens.report.findings import Finding

Look = Callable[[str, str], Values]
"""Values by (variant, column)."""
ROUNDING = 1e-9


class Claim(Protocol):
    """A statement about variants and columns of a table."""

    @property
    def text(self) -> str: ...

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """The (variant, column) pairs that it looks at."""
        ...

    def check(self, look: Look) -> Finding: ...


@dataclass(frozen=True)
class Lies:
    """The mean lies between two numbers; without `most`, it is at least the first."""

    variant: str
    column: str
    least: float
    most: float | None = None

    @property
    def text(self) -> str:
        where = f"at least {self.least:g}" if self.most is None else f"between {self.least:g} and {self.most:g}"
        return f"{self.column} of '{self.variant}' is {where}"

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        return ((self.variant, self.column),)

    def check(self, look: Look) -> Finding:
        found = estimate(look(self.variant, self.column))
        if found is None:
            return _absent(self)
        above = self.most is not None and found.mean > self.most + ROUNDING
        holds = found.mean >= self.least - ROUNDING and not above
        return Finding(claim=self.text, holds=holds, said=_shown(found))


@dataclass(frozen=True)
class Beats:
    """One variant is above another by at least `by`; `clearly` also wants their intervals not to overlap."""

    better: str
    worse: str
    column: str
    by: float = 0.0
    clearly: bool = False

    @property
    def text(self) -> str:
        margin = f" by at least {self.by:g}" if self.by else ""
        clearly = ", with intervals that do not overlap" if self.clearly else ""
        return f"{self.column} of '{self.better}' is above that of '{self.worse}'{margin}{clearly}"

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        return ((self.better, self.column), (self.worse, self.column))

    def check(self, look: Look) -> Finding:
        first, second = look(self.better, self.column), look(self.worse, self.column)
        gain, high, low = difference(first, second), estimate(first), estimate(second)
        if gain is None or high is None or low is None:
            return _absent(self)
        enough = gain.mean >= self.by - ROUNDING if self.by else gain.mean > 0
        said = f"{_shown(high)} and {_shown(low)}; paired difference {_shown(gain, signed=True)}"
        if gain.half is not None and abs(gain.mean) <= gain.half:
            said += ", which may be nothing"
        if not self.clearly:
            return _found(self, enough, said, undecided=_within(gain, self.by))
        clear = apart(high, low)
        if clear is None:
            return Finding(
                claim=self.text, holds=None if enough else False, said=f"{said}; one concept has no interval"
            )
        overlap = "intervals do not overlap" if clear else "intervals overlap"
        return Finding(claim=self.text, holds=enough and clear, said=f"{said}; {overlap}")


@dataclass(frozen=True)
class Keeps:
    """A variant is not below another one by more than `within`; with `either_way`, nor above it.

    like_column  the other one's column, where it is not the same
    """

    variant: str
    like: str
    column: str
    within: float
    like_column: str = ""
    either_way: bool = False

    @property
    def text(self) -> str:
        of = f"{self.like_column} of " if self.like_column else ""
        how = "is within" if self.either_way else "is not lower by more than"
        than = "of" if self.either_way else "than"
        return f"{self.column} of '{self.variant}' {how} {self.within:g} {than} {of}'{self.like}'"

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        return ((self.variant, self.column), (self.like, self.like_column or self.column))

    def check(self, look: Look) -> Finding:
        gain = difference(*(look(*place) for place in self.places))
        if gain is None:
            return _absent(self)
        off = abs(gain.mean) if self.either_way else -gain.mean
        said = f"paired difference {_shown(gain, signed=True)}"
        undecided = _within(gain, -self.within) or (self.either_way and _within(gain, self.within))
        return _found(self, off <= self.within + ROUNDING, said, undecided)


@dataclass(frozen=True)
class Leads:
    """No other variant has a higher mean."""

    variant: str
    others: tuple[str, ...]
    column: str

    @property
    def text(self) -> str:
        return f"{self.column} of '{self.variant}' is at least that of every other: {', '.join(self.others)}"

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        return tuple((variant, self.column) for variant in (self.variant, *self.others))

    def check(self, look: Look) -> Finding:
        gains = {other: difference(look(self.variant, self.column), look(other, self.column)) for other in self.others}
        known = {other: gain for other, gain in gains.items() if gain is not None}
        said = "; ".join(f"{_shown(gain, signed=True)} over '{other}'" for other, gain in known.items())
        if any(gain.mean < -ROUNDING for gain in known.values()):
            return Finding(claim=self.text, holds=False, said=said)
        return Finding(claim=self.text, holds=True, said=said) if len(known) == len(gains) else _absent(self)


@dataclass(frozen=True)
class Rises:
    """The mean never falls along the variants, and is higher at the end than at the start."""

    variants: tuple[str, ...]
    column: str

    @property
    def text(self) -> str:
        return f"{self.column} rises from '{self.variants[0]}' to '{self.variants[-1]}' without falling between"

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        return tuple((variant, self.column) for variant in self.variants)

    def check(self, look: Look) -> Finding:
        found = [estimate(look(*place)) for place in self.places]
        means = [each.mean for each in found if each is not None]
        if len(means) < len(found):
            return _absent(self)
        falls = [second - first for first, second in pairwise(means) if second < first - ROUNDING]
        said = " → ".join(f"{mean:.3f}" for mean in means) + (f"; falls {len(falls)} times" if falls else "")
        return Finding(claim=self.text, holds=not falls and means[-1] > means[0], said=said)


@dataclass(frozen=True)
class GoTogether:
    """Over variants, the means of two columns have a positive rank correlation (Kendall: pairs in the same order win).

    by  what the variants differ in
    """

    variants: tuple[str, ...]
    column: str
    other: str
    by: str

    @property
    def text(self) -> str:
        return f"the higher {self.column} by {self.by}, the higher {self.other}"

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        return tuple((variant, column) for variant in self.variants for column in (self.column, self.other))

    def check(self, look: Look) -> Finding:
        pairs = [
            (first.mean, second.mean)
            for variant in self.variants
            if (first := estimate(look(variant, self.column))) and (second := estimate(look(variant, self.other)))
        ]
        if len(pairs) < len(self.variants):
            return _absent(self)
        same, opposite = _orders(pairs)
        said = f"{same} of {same + opposite} ordered pairs of variants agree"
        return Finding(claim=self.text, holds=same > opposite, said=said)


def _orders(pairs: Sequence[tuple[float, float]]) -> tuple[int, int]:
    """Pairs of points that both columns order alike, and that they order oppositely; ties count for neither."""
    signs = [
        (first[0] - second[0]) * (first[1] - second[1]) for at, first in enumerate(pairs) for second in pairs[at + 1 :]
    ]
    return sum(sign > 0 for sign in signs), sum(sign < 0 for sign in signs)


def _within(gain: Estimate, margin: float) -> bool:
    """Whether the interval of a difference has numbers on both sides of a margin."""
    return gain.half is not None and abs(gain.mean - margin) < gain.half


def _found(claim: Claim, holds: bool, said: str, undecided: bool) -> Finding:
    return Finding(claim=claim.text, holds=None if undecided else holds, said=said, undecided=undecided)


def _absent(claim: Claim) -> Finding:
    return Finding(claim=claim.text, holds=None, said="a number that it needs is absent")


def _shown(found: Estimate, signed: bool = False) -> str:
    mean = f"{found.mean:+.3f}" if signed else f"{found.mean:.3f}"
    return mean if found.half is None else f"{mean} ± {found.half:.3f}"
