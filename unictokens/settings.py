"""Trees of frozen dataclasses as settings: to plain values, back with checks, and changed at dotted paths.

Every number a user may change, of a run or of the recipe of the base, goes through here.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from unictokens.errors import ConfigError, UniCTokensError

Tree = TypeVar("Tree")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_dict(tree: Any) -> dict[str, Any]:
    """A settings dataclass as plain JSON types."""
    return _adapter(type(tree)).dump_python(tree, mode="json")


def read(kind: type[Tree], values: Mapping[str, Any], listed: str) -> Tree:
    """A settings dataclass from plain values; `listed` tells the user where all settings are listed.

    Raises ConfigError that names the dotted path of the first wrong or unknown setting.
    """
    try:
        return _adapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            raise ConfigError(f"unknown setting '{path}': {listed}") from error
        raise ConfigError(f"setting '{path}' is {first['input']!r}: {first['msg'].lower()}") from error
    except UniCTokensError as error:
        raise ConfigError(str(error)) from error


def override(tree: Tree, values: Mapping[str, Any], listed: str, open_tables: Sequence[str] = ()) -> Tree:
    """A copy with the settings at dotted paths replaced, checked as a whole; tables named in `open_tables` may gain keys.

    Raises ConfigError for a path that does not exist or a value that does not fit.
    """
    plain = to_dict(tree)
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node: Any = plain
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or (leaf not in node and not (parents and parents[-1] in open_tables)):
            raise ConfigError(f"unknown setting '{path}': {listed}")
        node[leaf] = value
    return read(type(tree), plain, listed)


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["seed=3", "stages.deepen.optim.lr=1e-4"]` to values; raises ConfigError for a pair without '='."""
    values: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"setting '{pair}' has no value: write it as {pair}=VALUE")
        try:
            values[path] = json.loads(text)
        except json.JSONDecodeError:
            values[path] = text
    return values
