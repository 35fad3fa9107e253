"""`python -m serve config`: all settings of `python -m serve`, checked, as a file for `--config`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from serve.config import ServeConfig, load_config, to_json
from unictokens.cli.shell import OK


def add_settings(parser: argparse.ArgumentParser) -> None:
    """--config and --set: read by `read_settings`."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings as JSON (python -m serve config prints them)"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="A.B=VALUE", help="settings over the file's")


def read_settings(given: argparse.Namespace) -> ServeConfig:
    """The settings. Raises ConfigError."""
    return load_config(given.config, given.set)


def main(arguments: Sequence[str]) -> int:
    """Print."""
    parser = argparse.ArgumentParser(prog="python -m serve config", description=__doc__)
    add_settings(parser)
    print(to_json(read_settings(parser.parse_args(arguments))))
    return OK
