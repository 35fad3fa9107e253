"""`unictokens config`: every setting with its value, as dotted paths or as a JSON file for --config."""

import argparse
import json

from unictokens.cli.options import add_config, read_config
from unictokens.cli.shell import OK
from unictokens.config import to_dict
from unictokens.training.run import flat


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `config`."""
    add_config(parser)
    parser.add_argument("--preset", dest="config", help="the same as --config")
    parser.add_argument("--json", action="store_true", help="print a file that --config reads")


def run(arguments: argparse.Namespace) -> int:
    """Print the settings."""
    values = to_dict(read_config(arguments))
    if arguments.json:
        print(json.dumps(values, indent=1))
    else:
        for path, value in flat(values).items():
            print(f"{path}={json.dumps(value)}")
    return OK
