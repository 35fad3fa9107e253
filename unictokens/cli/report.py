"""`unictokens report OUT`: one self-contained HTML page about everything a training output holds."""

import argparse
from pathlib import Path

from unictokens.cli.options import OUT
from unictokens.cli.shell import OK
from unictokens.report.job import write_report
from unictokens.storage.base import local_folder


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `report`."""
    parser.add_argument("out", type=local_folder, nargs="?", default=OUT, help="output folder of a training (out)")
    parser.add_argument("--data", type=Path, help="its dataset, for the photos")


def run(arguments: argparse.Namespace) -> int:
    """Write the report; prints its path."""
    print(write_report(arguments.out, arguments.data))
    return OK
