"""`python -m benchmarks NAME`: print what something costs, as a table or, with --json, as one JSON object."""

import argparse
import importlib
import sys

from benchmarks.timing import show
from unictokens.errors import UniCTokensError

NAMES = (
    "train_step",
    "pack",
    "schedule",
    "sampler",
    "answer",
    "memory",
    "plan",
    "offload",
    "profile",
    "serve_engine",
    "serve",
    "soak",
    "sweep",
    "cluster",
)


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        command = commands.add_parser(name, help=(module.__doc__ or name).splitlines()[0])
        command.add_argument("--json", action="store_true", help="one JSON object instead of a table")
        module.add(command)
        command.set_defaults(measure=module.measure)
    options = parser.parse_args()
    try:
        show(options.measure(options), options.json)
    except UniCTokensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
