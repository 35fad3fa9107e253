"""`unictokens ask --concept bo [--photo p.png] "Is <bo> in the photo?"`"""

import argparse
import sys
from pathlib import Path

from unictokens.backbones.base import Decoding
from unictokens.cli.options import add_concepts, read_pipeline
from unictokens.cli.shell import OK
from unictokens.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `ask`."""
    add_concepts(parser)
    parser.add_argument("question", help='write <NAME> for the concept: "What colour is <bo>?"')
    parser.add_argument("--photo", type=Path, help="a picture the question is about")
    parser.add_argument("--max-tokens", type=int, default=100, help="longest answer (100)")
    parser.add_argument("--top-k", type=int, default=1, help="sample from the k likeliest words; 1 takes the likeliest")
    parser.add_argument("--temperature", type=float, default=1.0, help="of that sampling")
    parser.add_argument("--seed", type=int, default=0, help="of that sampling")


def run(arguments: argparse.Namespace) -> int:
    """Print the answer as it is decided."""
    if arguments.max_tokens < 1 or arguments.top_k < 1 or not arguments.temperature > 0:
        raise ConfigError("--max-tokens and --top-k must be at least 1 and --temperature above 0")
    decoding = Decoding(max_tokens=arguments.max_tokens, top_k=arguments.top_k, temperature=arguments.temperature)
    pipeline = read_pipeline(arguments)
    print(pipeline.ask(arguments.question, arguments.photo, decoding=decoding, seed=arguments.seed))
    sys.stdout.flush()
    return OK
