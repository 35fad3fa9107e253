"""`python -m unictokens.tracking`: the uploader's process; it is told on standard input what to do (see `node`).

follow   send what waits until standard input ends, that is, until whoever started it is gone
check    see that the server answers
drain    send some folders' events for a bounded time, and say what is left
"""

import json
import logging
import os
import select
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unictokens.errors import StorageError, UniCTokensError
from unictokens.tracking.address import SQLITE
from unictokens.tracking.mlflow_server import MlflowServer
from unictokens.tracking.node import LAST_SECONDS, election
from unictokens.tracking.spool import Spools, locked
from unictokens.tracking.uploader import BackOff, Uploader, drain, set_aliases

log = logging.getLogger("unictokens.tracking")

IDLE_SECONDS = 1.0


def main() -> int:
    """Do what standard input says; the answer is one line of JSON."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    # Whatever a library prints must not be taken for the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    uri, spools = str(request["uri"]), Spools(Path(request["root"]))
    try:
        if request["task"] == "follow":
            follow(spools, uri)
            return 0
        server = MlflowServer(uri)
        server.check()
        said: dict[str, Any] = {}
        uploader = Uploader(spools, uri, server)
        if request["task"] == "drain":
            said = asdict(drain(uploader, lambda: [key for key, _ in spools.waiting()], request["seconds"]))
            set_aliases(server, request["aliases"])
        for key in request.get("keys", ()):
            uploader.send(key)
    except UniCTokensError as error:
        said = {"error": str(error), "kind": type(error).__name__}
    try:
        print(json.dumps(said), file=answer, flush=True)
    except BrokenPipeError:
        return 1
    return 0


def follow(spools: Spools, uri: str) -> None:
    """Send what waits, as the only uploader of the node, until standard input ends."""
    host = "" if uri.startswith(SQLITE) else socket.gethostname()
    with locked(election(spools.root, uri)) as held:
        if not held:
            return
        uploader: Uploader | None = None
        back, over = BackOff(), False
        while not over:
            try:
                if uploader is None:
                    uploader = Uploader(spools, uri, MlflowServer(uri), host)
                sent = uploader.send_waiting()
                back.worked()
                pause = 0.0 if sent else IDLE_SECONDS
            except StorageError as error:
                pause = back.failed()
                log.warning("%s; trying again in %.0f s", error, pause)
            over = _input_ended(pause)
        # Whoever started it may have been killed: then its own run gets its end here.
        if uploader is not None and not back.seconds:
            drain(uploader, lambda: [key for key, _ in spools.waiting()], LAST_SECONDS)


def _input_ended(seconds: float) -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and os.read(sys.stdin.fileno(), 1) == b""


if __name__ == "__main__":
    sys.exit(main())
