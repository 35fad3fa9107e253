"""`python -m unictokens.tracking`: the uploader's process. Whoever starts it talks to it in lines of JSON (see `node`).

    {"root": ..., "uri": ...}                   first of all; then it sends what waits, until its input ends
    {"task": "check", "keys": [...]}            see that the server answers and send these folders; answered
    {"task": "drain", "seconds": ..., ...}      send all for a bounded time; answered with what is left

Where this node has an uploader already, it answers what it was asked and ends.
"""

import json
import logging
import os
import select
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from unictokens.errors import StorageError, UniCTokensError
from unictokens.tracking.address import SQLITE
from unictokens.tracking.mlflow_server import MlflowServer
from unictokens.tracking.node import LAST_SECONDS, election
from unictokens.tracking.spool import Spools, locked
from unictokens.tracking.uploader import BackOff, Uploader, drain, set_aliases

log = logging.getLogger("unictokens.tracking")

IDLE_SECONDS = 1.0


class Lines:
    """Lines of standard input; what was read ahead is kept."""

    def __init__(self) -> None:
        self._kept = b""
        self.ended = False

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next request, None when none came within so many seconds."""
        until = time.monotonic() + seconds
        while b"\n" not in self._kept:
            ready, _, _ = select.select([0], [], [], max(0.0, until - time.monotonic()))
            data = os.read(0, 1 << 16) if ready else b""
            self.ended = bool(ready) and not data
            if not data:
                return None
            self._kept += data
        line, _, self._kept = self._kept.partition(b"\n")
        return json.loads(line)


class Process:
    """The uploader of one output folder and one server, and whoever it answers to."""

    def __init__(self, spools: Spools, uri: str, answers: TextIO) -> None:
        self._answers = answers
        self._spools = spools
        self._uri = uri
        self._host = "" if uri.startswith(SQLITE) else socket.gethostname()
        self._server: MlflowServer | None = None
        self._uploader: Uploader | None = None

    def connected(self) -> tuple[MlflowServer, Uploader]:
        """The server and who sends to it. Raises StorageError, DependencyError."""
        if self._server is None or self._uploader is None:
            self._server = MlflowServer(self._uri)
            self._uploader = Uploader(self._spools, self._uri, self._server, self._host)
        return self._server, self._uploader

    def waiting(self) -> list[str]:
        """Folders that may have something to send."""
        return [key for key, _ in self._spools.waiting()]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        try:
            server, uploader = self.connected()
            if request["task"] == "check":
                server.check()
                for key in request["keys"]:
                    uploader.send(key)
                return {}
            left = drain(uploader, self.waiting, request["seconds"])
            set_aliases(server, request["aliases"])
            return asdict(left)
        except UniCTokensError as error:
            return {"error": str(error), "kind": type(error).__name__}

    def follow(self, lines: Lines, stack: ExitStack) -> None:
        """Answer, and send what waits if this is the node's uploader, until the input ends."""
        # Whoever starts it only to ask has the question ready.
        chosen, back, pause = False, BackOff(), IDLE_SECONDS
        while not lines.ended:
            request = lines.next(pause)
            if request is not None:
                print(json.dumps(self.answer(request)), file=self._answers, flush=True)
                pause = 0.0
                continue
            chosen = chosen or stack.enter_context(locked(election(self._spools.root, self._uri)))
            if not chosen:
                return
            try:
                sent = self.connected()[1].send_waiting()
                back.worked()
                pause = 0.0 if sent else IDLE_SECONDS
            except StorageError as error:
                pause = back.failed()
                log.warning("%s; trying again in %.0f s", error, pause)
        # Whoever started it may have been killed: then its own run gets its end here.
        if self._uploader is not None and not back.seconds:
            drain(self._uploader, self.waiting, LAST_SECONDS)


def main() -> int:
    """Follow what standard input says."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    lines = Lines()
    first = lines.next(IDLE_SECONDS * 60)
    if first is None:
        return 1
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        with ExitStack() as stack:
            Process(Spools(Path(first["root"])), str(first["uri"]), answers).follow(lines, stack)
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more; Python would complain about that at exit
    return 0


if __name__ == "__main__":
    sys.exit(main())
