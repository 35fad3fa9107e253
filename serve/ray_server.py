"""`python -m serve`: the endpoint on Ray Serve, until it is stopped."""

import argparse
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from serve.config import ServeConfig
from serve.config_command import add_settings, read_settings
from unictokens.cli.shell import OK
from unictokens.errors import ClusterError, DependencyError

ADDRESS = "RAY_ADDRESS"
OBJECT_STORE_BYTES = 200_000_000
"""Requests and events are small."""


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m serve", description=__doc__)
    add_settings(parser)
    config = _whole(read_settings(parser.parse_args(arguments)))
    ray = connect()
    from serve import deployment

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        deployment.start(config)
        print(
            f"serving {config.backbone} on http://{config.http.host}:{config.http.port}/v1 (document: /docs); Ctrl-C stops it"
        )
        ended.wait()
    finally:
        deployment.stop()
        ray.shutdown()
    return OK


def connect() -> Any:
    """Ray, connected. Raises DependencyError without it, ClusterError for a cluster that does not answer."""
    for name, value in (("RAY_USAGE_STATS_ENABLED", "0"), ("OMP_WAIT_POLICY", "PASSIVE")):
        os.environ.setdefault(name, value)
    address = os.environ.get(ADDRESS)
    if not address and "ray" not in sys.modules and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # A token of this Ray alone: its dashboard can run anything.
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    try:
        import ray
    except ModuleNotFoundError as error:
        raise DependencyError(
            "an endpoint on Ray needs Ray: pip install 'unictokens[serve]', or serve with 'python -m serve --local'"
        ) from error
    if not address:
        ray.init(address="local", logging_level=logging.ERROR, object_store_memory=OBJECT_STORE_BYTES)
        return ray
    try:
        ray.init(address=address, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ClusterError(f"no Ray cluster at {ADDRESS}={address} ({reason}): correct it, or unset it") from error
    return ray


def _whole(config: ServeConfig) -> ServeConfig:
    """Folders as whole paths: replicas run elsewhere than this command."""
    backbone = str(Path(config.backbone).absolute()) if Path(config.backbone).is_dir() else config.backbone
    return replace(config, folder=str(Path(config.folder).absolute()), backbone=backbone)
