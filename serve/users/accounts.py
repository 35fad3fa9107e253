"""Accounts: a random id that never changes and a public handle, as in `<ada/bo>`. Each is one namespace of concepts."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serve.users.database import Database, Taken
from unictokens.concepts.names import check_name
from unictokens.errors import ConfigError

Clock = Callable[[], float]
"""Seconds since 1970 (UTC)."""


def new_id() -> str:
    """128 random bits as hex: nobody guesses it."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class User:
    """Somebody with a namespace."""

    id: str
    name: str
    created: float
    disabled: bool = False


@dataclass(frozen=True)
class Accounts:
    """All users of a database."""

    database: Database
    clock: Clock = time.time

    def add(self, name: str) -> User:
        """A new user. Raises ConceptError for a bad name, ConfigError for one that is taken, in whatever case."""
        user = User(new_id(), check_name(name, "user"), self.clock())
        try:
            with self.database.change() as sql:
                sql.run(
                    "INSERT INTO users (id, name, folded, created) VALUES (:id, :name, :folded, :created)",
                    id=user.id,
                    name=name,
                    folded=name.lower(),
                    created=user.created,
                )
        except Taken as error:
            raise ConfigError(f"user '{name}' exists already (case does not count): choose another name") from error
        return user

    def list(self) -> tuple[User, ...]:
        """Everybody, by name."""
        with self.database.read() as sql:
            return tuple(map(_user, sql.all("SELECT * FROM users ORDER BY name")))

    def find(self, name: str) -> User | None:
        """A user by handle, or None."""
        with self.database.read() as sql:
            row = sql.one("SELECT * FROM users WHERE name = :name", name=name)
        return None if row is None else _user(row)

    def get(self, name: str) -> User:
        """A user by handle. Raises ConfigError."""
        user = self.find(name)
        if user is None:
            raise ConfigError(
                f"no user {name[:64]!r}: 'python -m serve users list' shows all, 'users add' makes a new one"
            )
        return user

    def disable(self, name: str, disabled: bool = True) -> None:
        """Lock a user out (all keys stop at once), or let them in again. Raises ConfigError."""
        user = self.get(name)
        with self.database.change() as sql:
            sql.run("UPDATE users SET disabled = :at WHERE id = :id", at=self.clock() if disabled else None, id=user.id)


def _user(row: Any) -> User:
    return User(row.id, row.name, row.created, row.disabled is not None)
