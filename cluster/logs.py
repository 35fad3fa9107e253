"""`python -m cluster logs`: what the lanes of a job wrote, in the order of time; of a job that was sent, what its driver wrote."""

import argparse
import heapq
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cluster.folder import JobFolder
from cluster.remote import ask, exit_code
from cluster.snapshot import Snapshot, Watched
from cluster.which import add_job, here, there, words_for
from unictokens.cli.shell import OK
from unictokens.errors import ConfigError
from unictokens.storage.base import Storage, open_storage

LOOK_SECONDS = 1.0
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+")
"""How a new entry begins; other lines belong to the one before (a traceback)."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `logs`."""
    add_job(parser)
    parser.add_argument("--lane", default="", help="of this lane only (all; of a job that was sent, its driver)")
    parser.add_argument("--follow", action="store_true", help="go on with what comes, until the job is over")


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    if arguments.address is not None:
        return _from_cluster(arguments)
    folder = here(arguments)
    watched = Watched(folder)
    reader = LogReader(folder, arguments.lane)
    snapshot = watched.look()
    reader.choose(snapshot)
    while True:
        for line in reader.read():
            print(line, flush=True)
        if snapshot.over or not arguments.follow:
            return OK
        time.sleep(LOOK_SECONDS)
        snapshot = watched.look()
        reader.choose(snapshot)


def _from_cluster(arguments: argparse.Namespace) -> int:
    server, attempt = there(arguments)
    if arguments.lane:
        more = ["--lane", arguments.lane, *(["--follow"] if arguments.follow else [])]
        return ask(server, words_for("logs", attempt, *more), print)
    if not arguments.follow:
        print(server.log(attempt.id), end="")
        return OK
    for piece in server.follow(attempt.id):
        print(piece, end="", flush=True)
    return exit_code(server.attempt(attempt.id))


@dataclass
class LogReader:
    """The logs of a job's lanes, each line once. `lane` "" is all of them."""

    folder: JobFolder
    lane: str = ""
    _storage: Storage = field(init=False)
    _read: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._storage = open_storage(self.folder.output)

    def choose(self, snapshot: Snapshot) -> None:
        """Learn of lanes that were opened meanwhile. Raises ConfigError for a lane that the job never had."""
        lanes = {lane.lane for lane in snapshot.lanes} | {run.lane for run in snapshot.runs if run.lane}
        if self.lane and self.lane not in lanes and self._storage.modified(log_name(self.lane)) is None:
            there = f"it has {', '.join(sorted(lanes)[:8])}" if lanes else "none has begun yet"
            raise ConfigError(f"job '{snapshot.job}' has no lane '{self.lane[:80]}': {there}")
        for lane in [self.lane] if self.lane else sorted(lanes):
            self._read.setdefault(lane, 0)

    def read(self) -> Iterator[str]:
        """What was not read before, in the order of time; with several lanes each line says whose it is."""
        alone = bool(self.lane)
        entries = heapq.merge(*(self._entries(lane) for lane in list(self._read)))
        for _, lane, lines in entries:
            for line in lines:
                yield line if alone else f"{lane}  {line}"

    def _entries(self, lane: str) -> Iterator[tuple[str, str, Sequence[str]]]:
        """(time, lane, lines) of whole entries."""
        data = (self._storage.read(log_name(lane)) or b"")[self._read[lane] :]
        whole = data.rfind(b"\n") + 1
        self._read[lane] += whole
        yield from _entries(lane, data[:whole].decode(errors="replace").splitlines())


def log_name(lane: str) -> str:
    """The name of a lane's log below the output place. Raises ConfigError for what is no lane's name."""
    if not re.fullmatch(r"[\w.-]+", lane):
        raise ConfigError(f"'{lane[:80]}' is no name of a lane: status shows them")
    return f"logs/{lane}.log"


def _entries(lane: str, lines: Iterable[str]) -> Iterator[tuple[str, str, Sequence[str]]]:
    stamp, entry = "", []
    for line in lines:
        found = STAMP.match(line)
        if found and entry:
            yield stamp, lane, entry
            entry = []
        if found:
            stamp = found[0]
        entry.append(line)
    if entry:
        yield stamp, lane, entry
