"""`unictokens parity DIR`: recorded vectors against the model classes."""

import argparse
from pathlib import Path

from unictokens import parity


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `parity`."""
    parser.add_argument("folder", type=Path, help="folder of vector files")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of phi-1_5 or its folder")


def run(arguments: argparse.Namespace) -> int:
    """Check every vector; exit code 1 when one fails."""
    return parity.run(arguments.folder, arguments.tokenizer)
