"""`python -m cluster track OUT --tracking-uri URI`: send what a job has written down to a tracking server, then or later.

A server that was away during a whole job is filled afterwards; another server gets everything from the start. What is there
already is not sent again, runs that a killed process left open are closed, aliases of the concept store become the registry's.
"""

import argparse
from pathlib import Path

from cluster.copies import fetch
from cluster.copies import shown as looked_at
from unictokens.cli.options import OUT
from unictokens.cli.progress import make_console
from unictokens.cli.shell import FAILED, OK
from unictokens.concepts.store import ConceptStore
from unictokens.errors import ConfigError
from unictokens.output import Output
from unictokens.storage.base import parse_place
from unictokens.tracking.address import OFF, shown, sqlite_uri
from unictokens.tracking.mlflow_server import MlflowServer
from unictokens.tracking.spool import TRACKING, Spools
from unictokens.tracking.uploader import Uploader, drain, set_aliases

SECONDS = 600.0


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `track`."""
    parser.add_argument(
        "out", type=parse_place, nargs="?", default=OUT, help="output folder of jobs or runs, or a URL (out)"
    )
    parser.add_argument("--tracking-uri", default="", metavar="URI", help="MLflow (OUT/mlflow.db by default)")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="S", help=f"to keep trying ({SECONDS:.0f})")
    parser.add_argument("--again", action="store_true", help="from the start, for a server that has lost it")


def run(arguments: argparse.Namespace) -> int:
    """Send; exit code 1 when something is left."""
    output = Output(arguments.out)
    root = output.local
    if arguments.tracking_uri == OFF:
        raise ConfigError(f"--tracking-uri '{OFF}' names no server: give its address")
    if arguments.seconds <= 0:
        raise ConfigError(f"--seconds {arguments.seconds} is not above zero: say how long to keep trying")
    if not isinstance(output.root, Path):
        for under in ("runs", TRACKING):
            fetch(output, under, looked_at)
    spools = Spools(root.absolute())
    folders = spools.all() if root.is_dir() else []
    if not folders:
        raise ConfigError(f"'{output.root}' holds no tracked runs: name the --out of a job")
    if not arguments.tracking_uri and not isinstance(output.root, Path):
        raise ConfigError(f"'{output.root}' is no place for MLflow's database: name a server with --tracking-uri")
    uri = arguments.tracking_uri or sqlite_uri(root)
    server = MlflowServer(uri)
    server.check()
    if arguments.again:
        spools.forget(uri)
    console = make_console()
    before = spools.left(uri, folders)
    with console.status(f"sending {before.events} events of {before.runs} runs to {shown(uri)} ..."):
        left = drain(Uploader(spools, uri, server), lambda: folders, arguments.seconds)
        set_aliases(server, store_aliases(output.store))
    refused = f", {left.refused} were refused (see the warnings)" if left.refused else ""
    console.print(
        f"sent {before.events - left.events} events of {before.runs} runs to {shown(uri)}{refused}", markup=False
    )
    if left.events:
        console.print(f"{left.events} events of {left.runs} runs are left ({left.reason})", style="red", markup=False)
        return FAILED
    return OK


def store_aliases(store: ConceptStore, names: tuple[str, ...] | None = None) -> dict[str, dict[str, int]]:
    """Aliases of concepts in the store (of all, or of those named), by concept. Raises StorageError."""
    return {name: store.aliases(name) for name in (store.names() if names is None else names)}
