"""The uploader beside the processes that train: one process per node, started by whoever trains there, gone with them.

Training never shares an interpreter with a tracking server's client: it writes files, and this process reads them. Every
lane and every driver keeps an `Uploading`, which sees every few seconds whether the node (for a database file, which has one
writer at a time: the output folder) has an uploader, and starts one where it has none. So machines that come and go need
nobody's attention, and an uploader that was killed is replaced. They agree by a lock file; should two run, no event is sent twice.
"""

import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from unictokens.errors import DependencyError, StorageError, UniCTokensError
from unictokens.tracking.address import SQLITE, shown
from unictokens.tracking.server import Away, Refused
from unictokens.tracking.spool import TRACKING, Left, Spools, locked, server_mark

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
LAST_SECONDS = 5.0
STOP_SECONDS = 10.0
CHECK_SECONDS = 120.0
DRAIN_SECONDS = 60.0
"""How long a job waits at its end for the server, unless told otherwise."""
ERRORS: dict[str, type[UniCTokensError]] = {kind.__name__: kind for kind in (Away, Refused, DependencyError)}
"""What the process may answer with, by name."""


def election(root: Path, uri: str) -> Path:
    """The lock file of the one uploader of this node or, for a database file, of the whole output folder."""
    place = "all" if uri.startswith(SQLITE) else socket.gethostname()
    return root / TRACKING / "sent" / server_mark(uri) / f".uploader-{place}.lock"


class Uploading:
    """While it is open, this node has an uploader from the spools of `root` to the server at `uri`; None: nobody is told."""

    def __init__(self, root: Path, uri: str | None) -> None:
        self._root = root.absolute()
        self._uri = uri
        self._process: subprocess.Popen[str] | None = None
        self._talking = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Uploading":
        if self._uri is not None:
            self._thread = threading.Thread(target=self._look_after, name="uploading", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the uploader; what is not sent stays on disk."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._talking:
            if self._process is not None:
                _end(self._process)
                self._process = None

    def check(self, keys: Sequence[str] = ()) -> None:
        """See that the server answers, by sending what these folders have.

        Raises Away or Refused with its words, DependencyError without its client library.
        """
        if self._uri is not None:
            self._ask({"task": "check", "keys": list(keys)}, CHECK_SECONDS)

    def drain(self, seconds: float, aliases: Mapping[str, Mapping[str, int]]) -> Left:
        """Send all that waits, and the aliases of concepts, for at most so long; returns what is left then.

        Raises nothing that the server or its client is to blame for: the files are still there.
        """
        if self._uri is None:
            return Left()
        numbers = {name: dict(versions) for name, versions in aliases.items()}
        try:
            return Left(**self._ask({"task": "drain", "seconds": seconds, "aliases": numbers}, seconds + CHECK_SECONDS))
        except UniCTokensError as error:
            spools = Spools(self._root)
            left = spools.left(self._uri, [key for key, _ in spools.waiting()])
            return replace(left, reason=" ".join(str(error).split()))

    def _look_after(self) -> None:
        while not self._over.is_set():
            if self._talking.acquire(blocking=False):
                try:
                    self._see_to_it()
                except (OSError, StorageError) as error:
                    log.warning("no uploader could be started beside this process: %s", error)
                finally:
                    self._talking.release()
            self._over.wait(LOOK_SECONDS)

    def _see_to_it(self) -> None:
        assert self._uri is not None
        if self._process is not None and self._process.poll() is None:
            return
        with locked(election(self._root, self._uri)) as free:
            pass
        if free:
            self._process = _start(self._root, self._uri)

    def _ask(self, request: dict[str, object], seconds: float) -> dict[str, Any]:
        """Ask the process, and a new one where there is none or it has just ended."""
        assert self._uri is not None
        with self._talking:
            for _ in range(2):
                process = self._process
                try:
                    if process is None or process.poll() is not None:
                        process = self._process = _start(self._root, self._uri)
                    answer = _talk(process, request, seconds)
                except TimeoutError as error:
                    raise Away(
                        f"'{shown(self._uri)}' did not answer within {seconds:.0f} s: start the server"
                    ) from error
                except OSError as error:
                    raise StorageError(f"no uploader can be asked ({error}): see '{self._root / TRACKING}'") from error
                if answer is not None:
                    break
            else:
                raise StorageError(f"the uploader ended without a word: see its log in '{self._root / TRACKING}'")
        if "error" in answer:
            raise ERRORS.get(answer["kind"], StorageError)(answer["error"])
        return answer


def left_words(left: Left, root: Path | str, uri: str) -> str:
    """What is not tracked yet, and how it will be; "" when nothing is."""
    if not left.events:
        return ""
    return (
        f"tracking: {left.events} events of {left.runs} runs wait on disk ({left.reason}): send them with "
        f"python -m cluster track {root} --tracking-uri {shown(uri)}"
    )


def _start(root: Path, uri: str) -> subprocess.Popen[str]:
    """Begin the process; it ends when this one does, because its standard input ends."""
    log_file = root / TRACKING / f"uploader-{socket.gethostname()}.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    # The same modules as here, wherever they came from; the address may hold a password, so it is not an argument.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    with log_file.open("a") as log_to:
        process = subprocess.Popen(
            [sys.executable, "-m", "unictokens.tracking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_to,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C belongs to the job
        )
    _write(process, {"root": str(root), "uri": uri})
    return process


def _talk(process: subprocess.Popen[str], request: dict[str, object], seconds: float) -> dict[str, Any] | None:
    """The answer to a request, None when the process ended instead. Raises TimeoutError, OSError."""
    assert process.stdout is not None
    _write(process, request)
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    if not ready:
        raise TimeoutError
    line = process.stdout.readline()
    return json.loads(line) if line else None


def _write(process: subprocess.Popen[str], line: dict[str, object]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        process.wait()  # it ended; whoever waits for its answer sees that


def _end(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except BrokenPipeError:
            continue  # what could not be said to a process that has ended
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
