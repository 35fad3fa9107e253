"""Concepts that an operator wants loaded before anybody asks, and kept however many others come."""

import logging
import threading
from collections.abc import Sequence

from serve.client import Reference
from serve.engine.shelf import ConceptShelf
from serve.folder import Users
from serve.naming import ConceptName
from unictokens.errors import UniCTokensError

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between looks at which version a name means."""


class HotConcepts:
    """Pins the versions that `names` mean on a shelf and, in a thread of its own, follows them to the next ones.

    One that cannot be found or loaded is told in the log, once, and tried again at the next look.
    """

    def __init__(self, shelf: ConceptShelf, users: Users, names: Sequence[ConceptName], every: float = EVERY) -> None:
        self._shelf = shelf
        self._users = users
        self._pinned: dict[ConceptName, Reference | None] = dict.fromkeys(names)
        self._told: dict[ConceptName, str] = {}
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="hot concepts", daemon=True)
        self.look()
        if names:
            self._thread.start()

    def look(self) -> None:
        """Pin what each name means now in place of what it meant before."""
        for name, before in self._pinned.items():
            try:
                now = self._find(name)
                if now is not None and now != before:
                    self._shelf.pin(now)
            except UniCTokensError as error:  # before stays as it is
                self._tell(name, str(error))
                continue
            self._tell(name, "there is no such concept" if now is None else "")
            if before is not None and before != now:
                self._shelf.unpin(before)
            self._pinned[name] = now

    def close(self) -> None:
        """Stop following."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        while not self._over.wait(self._every):
            try:
                self.look()
            except Exception:  # a database that is away for a while, say
                log.exception("hot concepts could not be looked up")

    def _find(self, name: ConceptName) -> Reference | None:
        assert name.owner is not None
        owner = self._users.accounts.find(name.owner)
        concept = owner and self._users.shelf.find(owner.id, owner.name, [name]).get(name)
        return concept.served(name.version).reference if concept else None

    def _tell(self, name: ConceptName, why: str) -> None:
        if why and why != self._told.get(name):
            log.warning("hot concept %s is not loaded: %s", name, why)
        self._told[name] = why
