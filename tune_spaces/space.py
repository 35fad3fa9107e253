"""A search space: settings by dotted path with the values that each may take, checked against the configuration it is for."""

import difflib
import fnmatch
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tune_spaces.domain import LEVELS, Domain, FloatRange, read_domain
from unictokens.config import OPEN_TABLES, RunConfig, override, to_dict
from unictokens.errors import ConfigError
from unictokens.training.run import flat

Sample = dict[str, Any]
"""Values by the paths of a space."""


@dataclass(frozen=True)
class Space:
    """What may change. A path may hold `*` for any name: `stages.*.optim.lr` is one value at all three places.

    about  what the space finds out, for people
    """

    name: str
    about: str
    domains: Mapping[str, Domain]

    def __post_init__(self) -> None:
        if not self.domains:
            raise ConfigError(f"space '{self.name}' is empty: name at least one setting and its values")

    def for_config(self, base: RunConfig) -> "Space":
        """The space with numbers for ends, where these are multiples of the configuration's own values.

        Raises ConfigError for a path that does not exist (with the nearest that does), and for a value at the end of a range
        that the setting cannot have.
        """
        known = flat(to_dict(base))
        domains: dict[str, Domain] = {}
        for path, domain in self.domains.items():
            values = [known.get(place) for place in places(path, base)]
            if isinstance(domain, FloatRange) and domain.times:
                numbers = {value for value in values if isinstance(value, int | float) and not isinstance(value, bool)}
                if len(numbers) != 1 or len(numbers) != len(set(map(str, values))) or min(numbers) <= 0:
                    raise ConfigError(
                        f"space '{self.name}': {path} is {', '.join(map(str, dict.fromkeys(map(str, values))))}, which has no multiples: "
                        "give numbers for its ends, or the settings one by one"
                    )
                domain = domain.of(numbers.pop())
            domains[path] = domain
        space = Space(self.name, self.about, domains)
        for path, domain in domains.items():
            for value in domain.levels(2):
                _check_value(space.name, base, path, value)
        return space

    def sample(self, random: Random) -> Sample:
        """One value for each path."""
        return {path: domain.sample(random) for path, domain in self.domains.items()}

    def grid(self, levels: int = LEVELS) -> Iterator[Sample]:
        """Every combination; the last path changes fastest, so that neighbours begin alike where the first paths come first."""
        for values in itertools.product(*(domain.levels(levels) for domain in self.domains.values())):
            yield dict(zip(self.domains, values, strict=True))

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {path: domain.plain() for path, domain in self.domains.items()}


def apply(base: RunConfig, sample: Mapping[str, Any]) -> RunConfig:
    """The configuration of a sample. Raises ConfigError as `override` does, with the nearest path for an unknown one."""
    return override(base, {place: value for path, value in sample.items() for place in places(path, base)})


def places(path: str, base: RunConfig) -> tuple[str, ...]:
    """The settings that a path means, one unless it holds `*`. Raises ConfigError for none, with the nearest path."""
    tree = to_dict(base)
    known = [*flat(tree), *_branches(tree)]
    depth = path.count(".")
    found = [one for one in known if one.count(".") == depth and fnmatch.fnmatchcase(one, path)]
    # A table such as `initial` may gain a key.
    *parents, leaf = path.rsplit(".", 1)
    if not found and parents and leaf != "*" and parents[0].rpartition(".")[2] in OPEN_TABLES and parents[0] in known:
        found = [path]
    if found:
        return tuple(dict.fromkeys(found))
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.0)
    raise ConfigError(f"no setting '{path}': the nearest is '{near[0]}'; 'python -m unictokens config' lists all")


def read_space(path: Path) -> Space:
    """A user's space from a JSON file {path: {"choice": [...]} | {"int": [low, high]} | {"float": [low, high]}}.

    Raises ConfigError that names the file and the setting.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"space file '{path}' is not readable JSON ({error}): mend it") from error
    if not isinstance(given, dict):
        raise ConfigError(f"space file '{path}' holds a {type(given).__name__}: it must be an object of paths")
    try:
        return Space(path.stem, f"from {path.name}", {name: read_domain(name, each) for name, each in given.items()})
    except ConfigError as error:
        raise ConfigError(f"space file '{path}': {error}") from error


def _branches(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Paths of whole tables: one may be chosen as a whole."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield prefix + key
            yield from _branches(value, f"{prefix}{key}.")


def _check_value(space: str, base: RunConfig, path: str, value: Any) -> None:
    try:
        apply(base, {path: value})
    except ConfigError as error:
        raise ConfigError(f"space '{space}': {path}={value}: {error}") from error
