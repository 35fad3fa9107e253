"""Names to code: literal tables `{"showo": "package.module:attribute"}`, imported on use.

A table is greppable, costs nothing to import and keeps heavy libraries out of processes that do not need them.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from unictokens.errors import ConfigError, DependencyError


def resolve(table: Mapping[str, str], name: str, kind: str) -> Any:
    """The object that `table[name]` points to.

    `kind` says in errors what was looked up ("backbone", "method").
    Raises ConfigError for a name that is not in the table, DependencyError for a library that is not installed.
    """
    if name not in table:
        raise ConfigError(f"unknown {kind} '{name}': choose one of {', '.join(sorted(table))}")
    module_name, _, attribute = table[name].partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.split(".")[0] == module_name.split(".")[0]:
            raise
        raise DependencyError(f"{kind} '{name}' needs the library '{missing}': pip install {missing}") from error
    return getattr(module, attribute)
