"""Sends spools to a tracking server: in order, in batches, again after an outage, and nothing twice.

What was acknowledged is written down after every batch. A crash between the two sends that batch again, and the server keeps
it once: numbers carry the time at which they were written down, pictures and files have names of their own, a version of a
concept knows its spool. Of several uploaders on one output folder each takes what no other is at.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from unictokens.errors import StorageError
from unictokens.tracking.base import Ancestor, Status
from unictokens.tracking.jsonl import writer_lives
from unictokens.tracking.server import NUMBERS, SETTINGS, Away, Number, Refused, Server, Setting
from unictokens.tracking.spool import Cursor, Event, Left, Spools

log = logging.getLogger(__name__)

DEAD_SECONDS = 60.0
"""A run whose writer died may be taken over by another lane; until then it is not called dead."""
ORPHAN_SECONDS = 60.0
"""So long the events of another host are left to the uploader there."""
PATIENCE = 5.0
"""Seconds for which an uploader waits for another one to begin a run."""
KILLED = "its process ended without a word"


class Uploader:
    """Sends what waits in `spools` to the server at `address`.

    host   whose folders are taken at once, "" for all
    clock  seconds since 1970
    """

    def __init__(
        self, spools: Spools, address: str, server: Server, host: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._spools = spools
        self._address = address
        self._server = server
        self._host = host
        self._clock = clock
        self._sizes: dict[str, int] = {}
        self._looked: dict[str, float] = {}
        self._ancestors: dict[str, str] = {}

    def send_waiting(self, dead_seconds: float = DEAD_SECONDS) -> int:
        """One round over all folders that wait; returns the bytes that were sent. Raises StorageError, mostly Away."""
        sent = 0
        for key, host in self._spools.waiting():
            if self._host in ("", host) or self._orphaned(key):
                sent += self.send(key, dead_seconds)
        return sent

    def send(self, key: str, dead_seconds: float = DEAD_SECONDS, until: float = math.inf) -> int:
        """Send one folder's events; returns their bytes.

        dead_seconds  a run without an end and without a writer is closed after so much silence
        until         time of the clock after which no further batch is sent
        Raises StorageError, mostly Away.
        """
        spool = self._spools.spool(key)
        size = spool.size
        if size == 0 or (size == self._sizes.get(key) and self._clock() - self._looked.get(key, 0.0) < dead_seconds):
            return 0
        with self._spools.claimed(self._address, key) as held:
            if not held:
                return 0
            cursor = self._spools.standing(self._address, key)
            before, end = cursor.offset, -1
            while cursor.offset < spool.size and end != cursor.offset and self._clock() < until:
                events, end = spool.read(cursor.offset)  # nothing, where the last line is not finished yet
                cursor = self._send(key, cursor, events, end, until)
            if end in (-1, cursor.offset):
                cursor = self._bury(key, cursor, dead_seconds)
            if cursor.status and not writer_lives(spool.folder):
                self._spools.unmark(key)
                if spool.size > max(size, cursor.offset) or writer_lives(
                    spool.folder
                ):  # it went on in this very moment
                    self._spools.mark(key)
                else:
                    self._spools.forget_lock(self._address, key)
        self._sizes[key], self._looked[key] = size if end == before else cursor.offset, self._clock()
        return cursor.offset - before

    def left(self, keys: Sequence[str]) -> Left:
        """What of these folders is not sent."""
        return self._spools.left(self._address, keys)

    def _orphaned(self, key: str) -> bool:
        spool = self._spools.spool(key)
        return spool.size > 0 and self._clock() - spool.heard > ORPHAN_SECONDS

    def _open(self, event: Event) -> str:
        """The server's run for a beginning, and before it those of the entries that it is nested in."""
        values, parent = event.values, ""
        for one in values["above"]:
            ancestor = Ancestor(**one)
            if ancestor.spool not in self._ancestors:
                self._ancestors[ancestor.spool] = self._opened(ancestor, parent, going_on=False)
            parent = self._ancestors[ancestor.spool]
        own = Ancestor(values["spool"], values["name"], values["tags"], event.time)
        return self._opened(own, parent, going_on=True)

    def _opened(self, entry: Ancestor, parent: str, going_on: bool) -> str:
        # To look for a run and to begin it are two calls; of two uploaders at once each would begin one.
        key, until = f"open/{entry.spool}", time.monotonic() + PATIENCE
        while True:
            with self._spools.claimed(self._address, key) as held:
                if held:
                    run = self._server.open(entry.spool, entry.name, entry.tags, parent, entry.time, going_on)
                    self._spools.forget_lock(self._address, key)
                    return run
            # The other one is done in a moment; to give up and come back later would cost both of them minutes.
            if time.monotonic() > until:
                raise Away(f"'{entry.name}' is being begun by another uploader: its events follow")
            time.sleep(PATIENCE / 100)

    def _send(self, key: str, cursor: Cursor, events: Sequence[Event], end: int, until: float) -> Cursor:
        """Send a piece of a spool, remembering after every batch how far it went."""
        for batch in batches(events):
            if self._clock() >= until:
                return cursor
            try:
                cursor = self._send_batch(key, cursor, batch)
            except (Refused, KeyError, TypeError, ValueError) as error:
                # Whatever a damaged event or a strict server makes impossible must not keep the others waiting.
                log.warning("'%s': event %d is refused: %s", key, batch[0].seq, error)
                cursor = replace(cursor, refused=cursor.refused + 1)
            cursor = replace(cursor, offset=batch[-1].end)
            self._spools.keep_cursor(self._address, key, cursor)
        return replace(cursor, offset=end)

    def _send_batch(self, key: str, cursor: Cursor, batch: Sequence[Event]) -> Cursor:
        """Send events that make one request, or a few."""
        event, server, values = batch[0], self._server, batch[0].values
        if event.kind == "begin":
            return replace(cursor, spool=str(values["spool"]), run=self._open(event), status="")
        if not cursor.run:
            raise Refused("it comes before the beginning of its run")
        folder = self._spools.spool(key).folder
        if event.kind in BATCHED:
            items, last = _items(batch, cursor.last)
            refused = sum(self._send_items(cursor.run, part) for part in _parts(items))
            return replace(cursor, last=last, refused=cursor.refused + refused)
        if event.kind == "image":
            server.image(cursor.run, folder / values["file"], str(values["name"]), int(values["step"]), event.time)
        elif event.kind == "artifact":
            server.artifact(cursor.run, folder / values["file"])
        elif event.kind == "published":
            bundle = folder / values["file"]
            server.register(cursor.run, cursor.spool, str(values["concept"]), int(values["version"]), bundle)
        elif event.kind == "close":
            status: Status = values["status"]
            server.close(cursor.run, status, event.time, "")
            return replace(cursor, status=status)
        else:
            raise Refused(f"nobody knows events of kind '{event.kind}'")
        return cursor

    def _send_items(self, run: str, items: Sequence[Number | Setting]) -> int:
        """Send one request, or what of it the server takes; returns how much it refuses."""
        try:
            self._server.send(run, items)
        except Refused as error:
            if len(items) == 1:
                log.warning("'%s' is refused: %s", items[0].name, error)
                return 1
            half = len(items) // 2
            return self._send_items(run, items[:half]) + self._send_items(run, items[half:])
        return 0

    def _bury(self, key: str, cursor: Cursor, dead_seconds: float) -> Cursor:
        """End a run that nobody will end: all is sent, no end was written, and no process is left to write one."""
        spool = self._spools.spool(key)
        if cursor.status or writer_lives(spool.folder) or self._clock() - spool.heard < dead_seconds:
            return cursor
        if cursor.run:
            log.warning("'%s' has no end: %s; it is closed as stopped", key, KILLED)
            self._server.close(cursor.run, "stopped", int(spool.heard * 1000), KILLED)
        cursor = replace(cursor, status="killed")
        self._spools.keep_cursor(self._address, key, cursor)
        return cursor


BATCHED = ("params", "metrics")


def batches(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Events in order, as many numbers and settings together as one request takes."""
    batch: list[Event] = []
    room = {"params": SETTINGS, "metrics": NUMBERS - SETTINGS}
    left = dict(room)
    for event in events:
        wanted = len(event.values.get("values") or ()) if event.kind in BATCHED else 0
        if batch and (event.kind not in BATCHED or wanted > left[event.kind]):
            yield batch
            batch, left = [], dict(room)
        if event.kind in BATCHED:
            batch.append(event)
            left[event.kind] -= wanted
        else:
            yield [event]
    if batch:
        yield batch


def _parts(items: Sequence[Number | Setting]) -> Iterator[Sequence[Number | Setting]]:
    """Pieces that one request takes: an event may be larger than that."""
    settings = [item for item in items if isinstance(item, Setting)]
    numbers = [item for item in items if isinstance(item, Number)]
    if len(settings) <= SETTINGS and len(numbers) <= NUMBERS - SETTINGS:
        yield from [items] if items else []
        return
    yield from (settings[start : start + SETTINGS] for start in range(0, len(settings), SETTINGS))
    yield from (numbers[start : start + NUMBERS] for start in range(0, len(numbers), NUMBERS))


def _items(
    batch: Sequence[Event], last: dict[str, tuple[int, float]]
) -> tuple[list[Number | Setting], dict[str, tuple[int, float]]]:
    """What a batch says, without what was said before: a resumed run may repeat an epoch."""
    items: list[Number | Setting] = []
    last = dict(last)
    for event in batch:
        values: dict[str, Any] = event.values.get("values") or {}
        if event.kind == "params":
            items += [Setting(name, str(value)) for name, value in values.items()]
            continue
        step = int(event.values["step"])
        for name, value in values.items():
            number = float(value)
            if _said(last.get(name), step, number):
                continue
            last[name] = (step, number)
            items.append(Number(name, step, number, event.time))
    return items, last


def _said(before: tuple[int, float] | None, step: int, value: float) -> bool:
    if before is None:
        return False
    same = before[1] == value or (math.isnan(before[1]) and math.isnan(value))
    return step < before[0] or (step == before[0] and same)


class BackOff:
    """How long to leave a server alone: a second, twice as long after each failure, a minute at most."""

    def __init__(self, first: float = 1.0, most: float = 60.0) -> None:
        self._first = first
        self._most = most
        self.seconds = 0.0

    def failed(self) -> float:
        """After a failure: seconds to wait."""
        self.seconds = min(self._most, max(self._first, 2 * self.seconds))
        return self.seconds

    def worked(self) -> None:
        """After a success."""
        self.seconds = 0.0


def drain(
    uploader: Uploader,
    folders: Callable[[], Sequence[str]],
    seconds: float,
    rest: Callable[[float], None] = time.sleep,
) -> Left:
    """Send these folders until nothing is left or the time is over; runs without a writer are closed. Raises nothing."""
    until, back = time.time() + seconds, BackOff()
    while True:
        try:
            for key in folders():
                uploader.send(key, 0.0, until)
            back.worked()
            reason = "the time was over"
        except StorageError as error:
            reason = " ".join(str(error).split())
        left = uploader.left(folders())
        if not left.events or time.time() + back.failed() > until:
            return replace(left, reason=reason if left.events else "")
        rest(back.seconds)


def set_aliases(server: Server, aliases: Mapping[str, Mapping[str, int]]) -> None:
    """Let the registry's aliases be those of the store; what it does not take is logged. Raises nothing."""
    for concept, wanted in aliases.items():
        try:
            if not server.alias(concept, wanted):
                log.warning("'%s': the registry lacks a version that an alias points to", concept)
        except StorageError as error:
            log.warning("'%s' keeps the aliases it has in the registry: %s", concept, error)
