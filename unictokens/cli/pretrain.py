"""`unictokens pretrain FOLDER`: the same as `python -m unictokens.pretrain FOLDER`."""

import argparse

from unictokens.pretrain.__main__ import main


def add(parser: argparse.ArgumentParser) -> None:
    """Everything is handed on as it is."""
    parser.add_argument("options", nargs=argparse.REMAINDER, help="see python -m unictokens.pretrain --help")


def run(arguments: argparse.Namespace) -> int:
    """Make the base."""
    return main(arguments.options)
