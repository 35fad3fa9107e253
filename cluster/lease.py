"""A lease: the right to do something alone (drive a job, train a run), as a small file or object on the output path.

Who takes a lease makes the next of its numbered files, so that of several takers exactly one succeeds; whoever held it sees a
higher number and has lost it. A holder counts a beat up; a lease whose beat stands still for `ttl` seconds *of the taker's own
clock* is dead: no clock is compared between machines, and one that jumps frightens nobody. A holder on the same host whose
process is gone is dead at once.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.numbered import Numbered
from unictokens.errors import StorageError
from unictokens.storage.base import Place, join

log = logging.getLogger(__name__)

TTL_SECONDS = 30.0
BEAT_SECONDS = 5.0
"""How often a holder should renew; well below `TTL_SECONDS`."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lease. `attempt` orders the lanes of one job that had the run one after the other."""

    job: str
    lane: str = ""
    attempt: int = 0
    host: str = ""
    process: int = 0
    started: str = ""

    @classmethod
    def here(cls, job: str, lane: str = "", attempt: int = 0) -> "Owner":
        """This process."""
        return cls(job, lane, attempt, _host(), os.getpid(), _started(os.getpid()))

    @property
    def gone(self) -> bool:
        """Whether it is known to be dead: a process of this host that is no more. False when nobody can tell."""
        return self.host == _host() and _started(self.process) != self.started

    def __str__(self) -> str:
        return f"{self.job}{'/' + self.lane if self.lane else ''} (process {self.process} on {self.host.split(' ')[0]})"


@dataclass(frozen=True)
class _Holding:
    owner: Owner
    beat: int = 0
    released: bool = False


@dataclass
class Watch:
    """What a taker has seen of leases that others hold: by file, the last beat and when it was first seen."""

    ttl: float = TTL_SECONDS
    clock: Callable[[], float] = time.monotonic
    _seen: dict[tuple[str, int], tuple[int, float]] = field(default_factory=dict)

    def silent(self, place: str, number: int, beat: int) -> bool:
        """Whether this beat has stood still for `ttl` seconds while we watched."""
        last, since = self._seen.get((place, number), (-1, 0.0))
        if last != beat:
            self._seen[place, number] = (beat, self.clock())
            return self.ttl <= 0
        return self.clock() - since >= self.ttl

    def last(self, place: Place, stem: str) -> tuple[int, int] | None:
        """The newest lease (number, beat) of a place that was held by somebody when we asked for it."""
        wanted = str(join(place, stem))
        return max(((number, beat) for (at, number), (beat, _) in self._seen.items() if at == wanted), default=None)


class LeaseLost(StorageError):
    """Somebody else holds the lease now."""


class Lease:
    """A lease that this process holds; see `take_lease`."""

    def __init__(self, files: Numbered, number: int, owner: Owner) -> None:
        self._files = files
        self._number = number
        self._owner = owner
        self._beat = 0

    def check(self) -> None:
        """Raises LeaseLost when somebody took it, StorageError when the disk refuses to tell."""
        if self._files.newest() != self._number:
            raise LeaseLost(f"'{self._files.where(self._number)}' was taken by somebody else: this holder was too slow")

    def renew(self) -> None:
        """Say that the holder lives. Raises as `check`."""
        self.check()
        self._beat += 1
        self._write(_Holding(self._owner, self._beat))

    def release(self) -> None:
        """Give it back; the next taker need not wait. Nothing happens when it was lost before. Raises StorageError."""
        if self._files.newest() == self._number:
            self._write(_Holding(self._owner, self._beat, released=True))

    def _write(self, holding: _Holding) -> None:
        self._files.write(self._number, _encode(holding))


class Renewal:
    """Keeps a lease alive while a block runs, from a thread of its own, and gives it back at the end."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._over = threading.Event()

    def __enter__(self) -> Lease:
        threading.Thread(target=self._again, name="lease", daemon=True).start()
        return self._lease

    def __exit__(self, *_: object) -> None:
        self._over.set()
        try:
            self._lease.release()
        except StorageError as error:
            log.warning("%s", error)

    def _again(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                self._lease.renew()
            except LeaseLost as error:
                log.error("%s", error)
                return
            except StorageError as error:
                log.warning("%s; trying again", error)


def take_lease(
    place: Place, stem: str, owner: Owner, watch: Watch, succeeds: Callable[[Owner], bool] | None = None
) -> Lease | Owner:
    """The lease `stem` of a place, or who holds it.

    watch     remembers from call to call; ask again until the holder has moved or is silent for `watch.ttl`
    succeeds  whether this owner may take it from that one at once
    Raises StorageError.
    """
    files = Numbered(place, stem, ".lease")
    while True:
        number = files.newest()
        holding = _read(files, number) if number else None
        if holding is not None and not _free(files, number, holding, watch, succeeds):
            return holding.owner
        # An owner names a process and what it does, which asks for one lease at a time: these bytes are nobody else's.
        if files.claim(number + 1, _encode(_Holding(owner))):
            files.drop_before(number + 1)
            return Lease(files, number + 1, owner)


def holder(place: Place, stem: str) -> Owner | None:
    """Who took the lease last and has neither given it back nor is known to be dead; None for nobody."""
    files = Numbered(place, stem, ".lease")
    number = files.newest()
    holding = _read(files, number) if number else None
    return None if holding is None or holding.released or holding.owner.gone else holding.owner


def _free(
    files: Numbered, number: int, holding: _Holding, watch: Watch, succeeds: Callable[[Owner], bool] | None
) -> bool:
    owner = holding.owner
    if holding.released or owner.gone or (succeeds is not None and succeeds(owner)):
        return True
    return watch.silent(str(join(files.place, files.stem)), number, holding.beat)


def _read(files: Numbered, number: int) -> _Holding | None:
    data = files.read(number)
    if data is None:  # somebody took the next one meanwhile
        return None
    try:
        values: dict[str, Any] = json.loads(data)
        return _Holding(Owner(**values["owner"]), int(values["beat"]), bool(values["released"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"'{files.where(number)}' is damaged ({error}): remove it when nothing runs") from error


def _encode(holding: _Holding) -> bytes:
    values = {"owner": vars(holding.owner), "beat": holding.beat, "released": holding.released}
    return (json.dumps(values) + "\n").encode()


def _host() -> str:
    # The boot is part of it: process numbers begin anew with each. Containers of one kernel differ by name.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}".strip()


def _started(process: int) -> str:
    """When a process of this host began, in ticks since the boot; empty for one that is not there (or a zombie)."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
