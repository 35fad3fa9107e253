"""`python -m serve`: the endpoint on Ray; `--local`: without Ray; `users ...`: who may use it; `config`: all settings."""

import sys
from collections.abc import Sequence
from importlib import import_module

from unictokens.cli.shell import OK, REFUSED, guarded

COMMANDS: dict[str, tuple[str, str]] = {
    "users": ("serve.users.command", "add users, make and revoke keys, set quotas, share and import concepts"),
    "run": ("serve.ray_server", "serve on Ray: the cluster that RAY_ADDRESS names, or this machine"),
    "config": ("serve.config_command", "print all settings of `run`, as a file for --config"),
    "--local": ("serve.local_server", "serve on this machine, without Ray"),
}
"""First argument to (file, what it does)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (see `unictokens.cli.shell`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("--") and given[0] not in (*COMMANDS, "--help")):
        given = ["run", *given]
    if given[0] not in COMMANDS:
        print("usage: python -m serve [COMMAND] [options]        (without a command: run)\n")
        print("\n".join(f"  {name:<8} {text}" for name, (_, text) in COMMANDS.items()))
        return OK if given[0] in ("-h", "--help") else REFUSED
    command = import_module(COMMANDS[given[0]][0])
    return guarded(lambda: command.main(given[1:]))


if __name__ == "__main__":
    sys.exit(main())
