"""The values that one setting may take: some by name, or a range of numbers. Drawing is a function of the generator alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Protocol

from unictokens.errors import ConfigError

LEVELS = 3
"""Values of a range in a grid."""
DIGITS = 4
"""Significant digits of a drawn number: nobody can read more, and equal samples are recognised as equal."""


class Domain(Protocol):
    """Values of one setting."""

    def sample(self, random: Random) -> Any:
        """One value."""
        ...

    def levels(self, count: int) -> tuple[Any, ...]:
        """The values of a grid, in order: at most `count` of a range, all of a choice."""
        ...

    @property
    def text(self) -> str:
        """For people."""
        ...

    def plain(self) -> dict[str, Any]:
        """As in a JSON file of a space."""
        ...


@dataclass(frozen=True)
class Choice:
    """One of some values: numbers, texts, true and false, lists, tables."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("a choice without values: give it at least one")

    def sample(self, random: Random) -> Any:
        return self.values[random.randrange(len(self.values))]

    def levels(self, count: int) -> tuple[Any, ...]:
        return self.values

    @property
    def text(self) -> str:
        return "one of " + ", ".join(map(str, self.values))

    def plain(self) -> dict[str, Any]:
        return {"choice": list(self.values)}


@dataclass(frozen=True)
class IntRange:
    """A whole number from `low` to `high`, both included; with `log`, each doubling is as likely as any other."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_ends(self.low, self.high, self.log)

    def sample(self, random: Random) -> int:
        if not self.log:
            return random.randint(self.low, self.high)
        drawn = math.exp(random.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
        return min(self.high, max(self.low, round(drawn)))

    def levels(self, count: int) -> tuple[int, ...]:
        return tuple(dict.fromkeys(round(value) for value in _spaced(self.low, self.high, self.log, count)))

    @property
    def text(self) -> str:
        return f"{self.low} to {self.high}, whole{', by factors' * self.log}"

    def plain(self) -> dict[str, Any]:
        return {"int": [self.low, self.high], **({"log": True} if self.log else {})}


@dataclass(frozen=True)
class FloatRange:
    """A number from `low` to `high`; with `log`, each factor is as likely as any other.

    times  the ends are multiples of the configuration's own value (`Space.for_config` puts numbers in their place)
    """

    low: float
    high: float
    log: bool = False
    times: bool = False

    def __post_init__(self) -> None:
        _check_ends(self.low, self.high, self.log)

    def sample(self, random: Random) -> float:
        if self.log:
            return self.rounded(math.exp(random.uniform(math.log(self.low), math.log(self.high))))
        return self.rounded(random.uniform(self.low, self.high))

    def levels(self, count: int) -> tuple[float, ...]:
        return tuple(dict.fromkeys(self.rounded(value) for value in _spaced(self.low, self.high, self.log, count)))

    def of(self, value: float) -> "FloatRange":
        """With numbers for ends, where these are multiples of `value`."""
        ends = (float(f"{end * value:.{DIGITS}g}") for end in (self.low, self.high))
        return FloatRange(*ends, log=self.log) if self.times else self

    def rounded(self, value: float) -> float:
        """A number of the range that people can read."""
        return min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))

    @property
    def text(self) -> str:
        own = " times the configuration's value" if self.times else ""
        return f"{self.low:g} to {self.high:g}{own}{', by factors' * self.log}"

    def plain(self) -> dict[str, Any]:
        flags = {name: True for name in ("log", "times") if asdict(self)[name]}
        return {"float": [self.low, self.high], **flags}


def read_domain(path: str, given: Any) -> Domain:
    """A domain from its JSON form: {"choice": [...]}, {"int": [low, high]} or {"float": [low, high]}, with "log" and "times".

    Raises ConfigError that names the setting's `path`.
    """
    kinds: Mapping[str, tuple[str, ...]] = {"choice": (), "int": ("log",), "float": ("log", "times")}
    kind = next((kind for kind in kinds if isinstance(given, dict) and kind in given), None)
    if kind is None:
        raise ConfigError(f'{path}: {_shown(given)} is no range: write {{"choice": [...]}} or {{"float": [low, high]}}')
    flags = {name: given[name] for name in given if name != kind}
    wrong = [name for name, value in flags.items() if name not in kinds[kind] or not isinstance(value, bool)]
    if wrong:
        allowed = " and ".join(f'"{flag}": true' for flag in kinds[kind]) or "nothing"
        raise ConfigError(f"{path}: '{wrong[0]}' does not go with {kind}: beside it there may be {allowed}")
    try:
        if kind == "choice":
            return Choice(tuple(_list(given[kind])))
        low, high = _list(given[kind])
        number = int if kind == "int" else float
        if any(isinstance(end, bool) or not isinstance(end, int | float) or number(end) != end for end in (low, high)):
            raise ConfigError(f"{_shown(given[kind])} are not two {kind} numbers")
        return IntRange(int(low), int(high), **flags) if kind == "int" else FloatRange(float(low), float(high), **flags)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{path}: {_shown(given[kind])} has not two ends: write [low, high]") from error


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{_shown(value)} is no list: write [...]")
    return value


def _check_ends(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ConfigError(f"{low:g} to {high:g} is no range: the first number must not be above the second")
    if log and low <= 0:
        raise ConfigError(f"{low:g} to {high:g} cannot go by factors: both ends must be above zero")


def _spaced(low: float, high: float, log: bool, count: int) -> list[float]:
    if count < 2 or low == high:
        return [low]
    shares = [step / (count - 1) for step in range(count)]
    return [low * (high / low) ** share if log else low + (high - low) * share for share in shares]


def _shown(value: Any) -> str:
    return repr(value)[:60]
