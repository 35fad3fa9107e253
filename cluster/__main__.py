"""`python -m cluster COMMAND`: `train` teaches many concepts as one Ray job, `plan` says what it will need, `reproduce` makes the
paper's tables, `demo` shows all; with `--address` a job is sent to a cluster."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from cluster import remote
from unictokens.cli.shell import OK, REFUSED, add_verbose, guarded, set_up_logging
from unictokens.errors import ConfigError

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("cluster.train", "teach concepts of a dataset, many at once, as a Ray job"),
    "plan": ("cluster.forecast", "say what a job will need of memory and time, and whether it fits"),
    "reproduce": (
        "cluster.reproduce",
        "train, examine and tabulate one of the paper's findings beside the paper's numbers",
    ),
    "status": ("cluster.status", "show how a job stands: its concepts, lanes and time to go"),
    "logs": ("cluster.logs", "show what the lanes of a job wrote"),
    "cancel": ("cluster.cancel", "end a job after the epochs that its concepts are in"),
    "retry": ("cluster.retry", "give what failed in a job another chance"),
    "track": ("cluster.track", "send what jobs have written down to an MLflow server, then or later"),
    "sweep": ("cluster.sweep", "find better settings: many trials in one job's packs, poor ones ended early"),
    "demo": ("cluster.demo", "draw a small world, teach some of it, ask, draw and write a report"),
}
"""Command to (file, what it does)."""
SENT = ("train", "reproduce", "sweep")
"""Commands that `--address` sends to a cluster as a Ray job."""
CODES = "exit codes: 0 done; 1 done, but a concept failed (named); 2 refused, with the reason in a line; 130 stopped before its end"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (see `unictokens.cli.shell`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print("usage: python -m cluster COMMAND [options]\n")
        print("\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()))
        print(f"\n{CODES}")
        return OK if given else REFUSED
    return guarded(lambda: _call(given[0], given[1:]))


def _call(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        raise ConfigError(f"unknown command '{name[:40]}': choose one of {', '.join(COMMANDS)}")
    place, text = COMMANDS[name]
    command = import_module(place)
    # Whole words only: what is sent to a cluster is the words themselves, less those that are for this machine.
    parser = argparse.ArgumentParser(
        prog=f"python -m cluster {name}", description=text, epilog=CODES, allow_abbrev=False
    )
    add_verbose(parser)
    command.add(parser)
    if name in SENT:
        remote.add_sending(parser)
    parsed = parser.parse_args(arguments)
    set_up_logging(parsed.verbose)
    if name in SENT and parsed.address is not None:
        return remote.send(name, arguments, parsed, parser)
    return command.run(parsed)


if __name__ == "__main__":
    sys.exit(main())
