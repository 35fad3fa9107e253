"""Where an endpoint keeps its things: one folder with the concepts, the users' database and the audit log."""

from dataclasses import dataclass
from pathlib import Path

from serve.users.accounts import Accounts
from serve.users.audit import Audit
from serve.users.database import Database
from serve.users.following import Following
from serve.users.keys import Keys
from serve.users.quotas import Quotas
from serve.users.shelf import Shelf


@dataclass(frozen=True, kw_only=True)
class Users:
    """The users' side of an endpoint."""

    accounts: Accounts
    keys: Keys
    quotas: Quotas
    shelf: Shelf
    following: Following
    audit: Audit


@dataclass(frozen=True)
class Folder:
    """An endpoint's folder."""

    root: Path

    @property
    def concepts(self) -> Path:
        """Everybody's concepts."""
        return self.root / "concepts"

    @property
    def follower(self) -> Path:
        """The lock of the one process that looks at registries."""
        return self.root / "follower.lock"

    def open_users(self, database: str | None = None) -> Users:
        """The users' side; `database` is an address in place of `<root>/users.sqlite`. Raises StorageError, ConfigError."""
        opened = Database.open(database or f"sqlite:///{self.root.resolve() / 'users.sqlite'}")
        shelf = Shelf(self.concepts, opened)
        return Users(
            accounts=Accounts(opened),
            keys=Keys(opened),
            quotas=Quotas(opened),
            shelf=shelf,
            following=Following(shelf),
            audit=Audit(self.root / "audit"),
        )
