"""Who looks at registries, again and again: one process of an endpoint, in threads of its own beside its requests.

Each registry has a thread while it is looked at, so that one that hangs keeps no other waiting. mlflow is imported when the first
concept follows something.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from serve.folder import Users
from serve.mirror import Mirror, Registry
from serve.users.following import Link
from unictokens.errors import DependencyError, StorageError, UniCTokensError
from unictokens.tracking.address import shown
from unictokens.tracking.mlflow_registry import MlflowRegistry
from unictokens.tracking.server import Away
from unictokens.tracking.spool import locked
from unictokens.tracking.uploader import BackOff

log = logging.getLogger(__name__)

LONGEST = 30.0
"""Seconds at most until a registry that does not answer is asked again."""
PATIENCE = 5.0
"""Seconds for a copy under way when the process ends."""


class Follower:
    """Follows what `users` has links for, while this is the process that holds `lock`.

    fingerprint  of the frozen weights that are served now
    every        seconds between two looks
    connect      opens a registry by its address. Raises StorageError, DependencyError
    """

    def __init__(
        self,
        users: Users,
        fingerprint: Callable[[], str],
        lock: Path,
        every: float,
        connect: Callable[[str], Registry] = MlflowRegistry,
    ) -> None:
        self._users = users
        self._fingerprint = fingerprint
        self._lock = lock
        self._every = every
        self._connect = connect
        self._ended = threading.Event()
        self._watches: dict[str, Watch] = {}
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        with ExitStack() as stack:
            chosen, told = False, ""
            while True:
                try:
                    if not chosen:
                        with ExitStack() as attempt:
                            chosen = attempt.enter_context(locked(self._lock))
                            if chosen:
                                stack.push(attempt.pop_all())
                    if chosen:
                        self._look()
                    told = ""
                except StorageError as error:
                    if told != str(error):
                        log.warning("nobody looks at registries: %s", error)
                    told = str(error)
                if self._ended.wait(self._every):
                    return

    def _look(self) -> None:
        by_uri: dict[str, list[Link]] = {}
        for link in self._users.following.all():
            by_uri.setdefault(link.uri, []).append(link)
        for uri in self._watches.keys() - by_uri.keys():
            del self._watches[uri]
        for uri, links in by_uri.items():
            if uri not in self._watches:
                self._watches[uri] = Watch(self._users, uri, self._fingerprint, self._connect, self._ended)
            self._watches[uri].begin(links)


class Watch:
    """One registry and the concepts that follow it."""

    def __init__(
        self,
        users: Users,
        uri: str,
        fingerprint: Callable[[], str],
        connect: Callable[[str], Registry],
        ended: threading.Event,
    ) -> None:
        self._users = users
        self._uri = uri
        self._fingerprint = fingerprint
        self._connect = connect
        self._ended = ended
        self._mirror: Mirror | None = None
        self._back = BackOff(most=LONGEST)
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def begin(self, links: Sequence[Link]) -> None:
        """Look, unless that is still done or the registry is left alone for a while."""
        if time.monotonic() < self._due or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._look, args=(links,), name="registry", daemon=True)
        self._thread.start()

    def _look(self, links: Sequence[Link]) -> None:
        try:
            try:
                if self._mirror is None:
                    self._mirror = Mirror(self._connect(self._uri), self._fingerprint)
                for link in self._mirror.changed(links):
                    if self._ended.is_set():
                        return
                    self._update(self._mirror, link)
                self._back.worked()
            except (StorageError, DependencyError) as error:
                if not self._back.seconds:
                    log.warning("concepts keep the versions they have: %s", error)
                self._due = time.monotonic() + self._back.failed()
                for link in links:
                    self._tell(link, str(error))
        except UniCTokensError as error:
            log.warning("what happened at the registry '%s' cannot be kept: %s", shown(self._uri), error)

    def _update(self, mirror: Mirror, link: Link) -> None:
        try:
            trouble = mirror.update(link)
        except Away:
            raise
        except UniCTokensError as error:
            trouble = str(error)
        finally:
            self._users.shelf.sweep(link.concept)
        if trouble and trouble != link.trouble:
            log.warning("concept %s, which follows '%s', stays as it is: %s", link.concept.id, link.model, trouble)
        self._tell(link, trouble)

    def _tell(self, link: Link, trouble: str) -> None:
        if trouble != link.trouble:
            self._users.following.tell(link, trouble)
