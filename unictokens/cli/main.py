"""`python -m unictokens COMMAND`."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from unictokens import __version__
from unictokens.cli.shell import OK, REFUSED, add_verbose, guarded, set_up_logging
from unictokens.errors import ConfigError

COMMANDS: dict[str, str] = {
    "train": "learn one concept from a dataset, without Ray",
    "ask": "ask about a concept, with or without a photo",
    "draw": "draw a concept",
    "evaluate": "examine a concept beside its controls",
    "concepts": "list published concepts; import and export the authors' token files",
    "data": "write the drawn example dataset; check a dataset",
    "config": "print all settings",
    "parity": "check the model classes against recorded vectors",
    "report": "write report.html of a training output",
    "pretrain": "make the small base model that ships with the package",
}
"""Command to what it does; `unictokens/cli/<command>.py` is imported only when it is called."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (see `shell`); argparse's own refusals exit with 2 too."""
    # Read when torch is first imported, by a command: waiting threads sleep instead of spinning on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--version"]:
        print(__version__)
        return OK
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return OK if given else REFUSED
    return guarded(lambda: _call(given[0], given[1:]))


def _call(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        raise ConfigError(f"unknown command '{name[:40]}': choose one of {', '.join(COMMANDS)}")
    command: ModuleType = import_module(f"unictokens.cli.{name}")
    parser = argparse.ArgumentParser(prog=f"unictokens {name}", description=COMMANDS[name])
    add_verbose(parser)
    command.add(parser)
    parsed = parser.parse_args(arguments)
    set_up_logging(parsed.verbose)
    return command.run(parsed)


def _overview() -> str:
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python -m unictokens COMMAND [options]",
            "",
            *lines,
            "",
            "python -m unictokens COMMAND --help lists the options of a command.",
            "Many concepts at once, on a cluster: python -m cluster train --help",
        ]
    )
