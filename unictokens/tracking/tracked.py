"""Tracking as whoever trains sees it: entries that nest in each other, written to disk, and sent from there if anybody asks."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from unictokens.tracking.base import Ancestor, Entry, Status, Tracker, Trackers
from unictokens.tracking.jsonl import JsonlTracker
from unictokens.tracking.node import DRAIN_SECONDS, Uploading, left_words
from unictokens.tracking.server import Away
from unictokens.tracking.spool import Spools

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tracked:
    """A place for entries, as a small value that other processes may be given.

    root   the output folder
    uri    the server that is told, None for none; events are on disk in any case
    above  the entries that new ones are nested in, outermost first
    named  what users call the output, where the root is only this machine's copy of it
    """

    root: Path
    uri: str | None
    above: tuple[Ancestor, ...] = ()
    named: str = ""

    def tracker(self, name: str, tags: Mapping[str, str], folder: Path | None = None) -> JsonlTracker:
        """Begin or continue the entry `name`; its events are in `folder`, somewhere below the root. Raises StorageError."""
        return self._tracker(Entry(name=name, tags=tags, above=self.above), folder)

    def passing(self, name: str, tags: Mapping[str, str], folder: Path) -> Tracker:
        """The same for a folder that is kept elsewhere and goes when its run is over, before the server may have heard of it:
        what is to be sent waits beside it, as the same entry. Raises StorageError."""
        entry = Entry(name=name, tags=tags, above=self.above)
        kept = JsonlTracker(folder, entry)
        if self.uri is None:
            return kept
        return Trackers((kept, self._tracker(replace(entry, spool=kept.above[-1].spool), None)))

    def _tracker(self, entry: Entry, folder: Path | None) -> JsonlTracker:
        spools = Spools(self.root)
        return spools.tracker(folder or spools.entry(entry.name), entry, waiting=self.uri is not None)

    def uploading(self) -> Uploading:
        """While this is open, the node has an uploader."""
        return Uploading(self.root, self.uri)


class TrackedEntry:
    """The entry of a job, a sweep or a table while its driver lives: others are nested in it, and its end waits for the server."""

    def __init__(self, tracked: Tracked, name: str, tags: Mapping[str, str], optional: bool = False) -> None:
        """Begins the entry, on disk and, unless that is `optional`, on the server.

        Raises StorageError when the server does not answer; with `optional` only for an address that is wrong for ever.
        DependencyError without the server's client library.
        """
        self._outermost = not tracked.above
        self.tracker = tracked.tracker(name, tags)
        self.inner = replace(tracked, above=self.tracker.above)
        self._uploading = tracked.uploading()
        try:
            self._uploading.check([Spools(tracked.root).key(Spools(tracked.root).entry(name))])
        except Away as error:
            if not optional:
                self.tracker.close("failed")
                raise
            log.warning("%s; events wait on disk meanwhile", error)
        except BaseException:
            self.tracker.close("failed")
            raise
        self._uploading.__enter__()

    def close(
        self,
        status: Status,
        aliases: Mapping[str, Mapping[str, int]] | None = None,
        seconds: float = DRAIN_SECONDS,
    ) -> str:
        """End the entry and wait a while for the server; returns one line on what is not sent yet, "" for nothing.

        aliases  of concepts in the store, which the registry shall have too
        An entry that is nested in another leaves the waiting to that one.
        """
        self.tracker.close(status)
        left = self._uploading.drain(seconds, aliases or {}) if self._outermost or aliases else None
        self._uploading.close()
        place, uri = self.inner.named or self.inner.root, self.inner.uri
        return "" if left is None or uri is None else left_words(left, place, uri)
