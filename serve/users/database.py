"""The users' database: SQLite beside the concepts by default, PostgreSQL by its address; plain SQL that both understand.

directory = Database.open("sqlite:////srv/users.sqlite")
with directory.change() as sql:
    sql.run("UPDATE keys SET revoked = :now WHERE id = :id", now=now, id=key_id)
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, create_engine, event, text
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from unictokens.errors import ConfigError, DependencyError, StorageError

VERSION = 1
WAIT_MS = 10_000
ALONE = 250_514_671
"""A number of our own among the locks of a PostgreSQL database."""

TABLES = (
    "CREATE TABLE IF NOT EXISTS about (version INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS users (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, folded TEXT NOT NULL UNIQUE,
        created DOUBLE PRECISION NOT NULL, disabled DOUBLE PRECISION)""",
    """CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users(id), prefix TEXT NOT NULL UNIQUE,
        digest TEXT NOT NULL, label TEXT NOT NULL, scopes TEXT NOT NULL, created DOUBLE PRECISION NOT NULL,
        expires DOUBLE PRECISION, revoked DOUBLE PRECISION)""",
    """CREATE TABLE IF NOT EXISTS quotas (
        key_id TEXT NOT NULL REFERENCES keys(id), kind TEXT NOT NULL, amount DOUBLE PRECISION NOT NULL,
        per_seconds DOUBLE PRECISION NOT NULL, PRIMARY KEY (key_id, kind))""",
    """CREATE TABLE IF NOT EXISTS buckets (
        key_id TEXT NOT NULL REFERENCES keys(id), kind TEXT NOT NULL, level DOUBLE PRECISION NOT NULL,
        at DOUBLE PRECISION NOT NULL, PRIMARY KEY (key_id, kind))""",
    """CREATE TABLE IF NOT EXISTS concepts (
        id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users(id), name TEXT NOT NULL, folded TEXT NOT NULL,
        created DOUBLE PRECISION NOT NULL, UNIQUE (user_id, folded))""",
    """CREATE TABLE IF NOT EXISTS grants (
        concept_id TEXT NOT NULL REFERENCES concepts(id), user_id TEXT NOT NULL REFERENCES users(id),
        created DOUBLE PRECISION NOT NULL, PRIMARY KEY (concept_id, user_id))""",
    """CREATE TABLE IF NOT EXISTS following (
        concept_id TEXT PRIMARY KEY REFERENCES concepts(id) ON DELETE CASCADE, uri TEXT NOT NULL, model TEXT NOT NULL,
        source TEXT NOT NULL, trouble TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS grants_by_user ON grants (user_id)",
)


class Taken(Exception):
    """A row with this name exists already; for our own code, never shown."""


class Statements:
    """SQL inside one transaction; values are always bound, a list stands for `IN :names`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, **values: Any) -> int:
        """Change rows; returns how many. Raises Taken when something unique exists already."""
        try:
            return self._connection.execute(text(sql), values).rowcount
        except IntegrityError as error:
            raise Taken from error

    def all(self, sql: str, **values: Any) -> Sequence[Any]:
        """Rows, by attribute (`row.name`)."""
        lists = [bindparam(name, expanding=True) for name, value in values.items() if isinstance(value, list)]
        return self._connection.execute(text(sql).bindparams(*lists), values).all()

    def one(self, sql: str, **values: Any) -> Any | None:
        """The first row, or None."""
        rows = self.all(sql, **values)
        return rows[0] if rows else None

    def hold(self, table: str, identifier: str) -> None:
        """Nobody else refers to this row, or changes it, until the transaction ends."""
        if self._connection.dialect.name != "sqlite":  # which lets one transaction change things at a time anyhow
            self.all(f"SELECT id FROM {table} WHERE id = :id FOR UPDATE", id=identifier)

    def alone(self) -> None:
        """Of those who ask for this, one goes on at a time; until its transaction ends."""
        if self._connection.dialect.name == "postgresql":
            self.all("SELECT pg_advisory_xact_lock(:number)", number=ALONE)


class Database:
    """Transactions on one database; safe to share between threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sqlite = engine.dialect.name == "sqlite"
        # SQLite lets one process write at a time anyhow; waiting here is fair and cheaper than its retries.
        self._writing = threading.Lock() if self._sqlite else None

    @classmethod
    def open(cls, url: str) -> "Database":
        """A database by address ("sqlite:////srv/users.sqlite", "postgresql+psycopg://host/name"), its tables made if missing.

        Raises ConfigError for an address that cannot be, DependencyError for a driver that is not installed, StorageError
        when it does not answer or belongs to a newer version.
        """
        try:
            parsed = make_url(url)
            engine = create_engine(parsed, pool_pre_ping=not url.startswith("sqlite"))
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            raise ConfigError(
                "the users' database address cannot be understood: write sqlite:////folder/users.sqlite or "
                "postgresql+psycopg://user@host/name"
            ) from error
        except ModuleNotFoundError as error:
            raise DependencyError(
                f"this database needs the library '{error.name}': pip install {error.name}"
            ) from error
        if engine.dialect.name == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ConfigError("the users' database must be a file: write sqlite:////folder/users.sqlite")
            _prepare_file(Path(parsed.database))
            event.listen(engine, "connect", _set_up_sqlite)
        database = cls(engine)
        with database.change() as sql:
            sql.alone()  # replicas start at once, and "IF NOT EXISTS" is no lock
            for table in TABLES:
                sql.run(table)
            about = sql.one("SELECT version FROM about")
            if about is None:
                sql.run("INSERT INTO about (version) VALUES (:version)", version=VERSION)
            elif about.version > VERSION:
                raise StorageError(
                    f"the users' database has version {about.version}, this program reads up to {VERSION}: update it"
                )
        return database

    @contextmanager
    def read(self) -> Iterator[Statements]:
        """A transaction that changes nothing. Raises StorageError when the database does not answer."""
        with self._transaction("BEGIN") as statements:
            yield statements

    @contextmanager
    def change(self) -> Iterator[Statements]:
        """A transaction that is kept when the block ends without error, else undone. Raises StorageError."""
        if self._writing is None:
            with self._transaction("BEGIN") as statements:
                yield statements
            return
        with self._writing, self._transaction("BEGIN IMMEDIATE") as statements:
            yield statements

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Statements]:
        try:
            with self._engine.connect() as connection:
                if self._sqlite:
                    connection.exec_driver_sql(begin)
                yield Statements(connection)
                connection.commit()
        except SQLAlchemyError as error:
            # The library's own message holds the statement and its values; only the driver's reason is passed on.
            reason = " ".join(str(getattr(error, "orig", None) or type(error).__name__).split())[:200]
            raise StorageError(f"the users' database does not answer ({reason}): check it and its address") from error


def _prepare_file(path: Path) -> None:
    # Keys' digests and names of people: nobody else on the machine reads them.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageError(f"cannot write '{path}' ({error.strerror}): choose another place") from error


def _set_up_sqlite(connection: Any, _: Any) -> None:
    # Without the driver's own, late BEGIN: our transactions take the write lock when they start.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={WAIT_MS}"):
        connection.execute(f"PRAGMA {pragma}")
