"""What a job costs beside its training: its plan, its queue, its driver, its lanes; and what is in the way first as it grows."""

import argparse
import importlib

from benchmarks.timing import Result

PARTS = ("plan", "queue", "lanes", "simulate", "day")


def add(parser: argparse.ArgumentParser) -> None:
    """A part for each measurement, with options of its own."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name in PARTS:
        module = importlib.import_module(f"benchmarks.cluster.{name}")
        part = parts.add_parser(name, help=(module.__doc__ or name).splitlines()[0])
        part.add_argument("--json", action="store_true", help="one JSON object instead of a table")
        module.add(part)
        part.set_defaults(measure_part=module.measure)


def measure(options: argparse.Namespace) -> Result:
    """Measure one part."""
    return options.measure_part(options)
