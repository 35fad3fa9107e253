"""API keys: `uct_<prefix>_<secret>`. The database keeps the prefix, to look a key up, and a SHA-256 of the secret.

The secret has 256 random bits, so a plain fast hash is as good as a slow one; it is shown once, when the key is made.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serve.users.accounts import Clock, new_id
from serve.users.database import Database
from unictokens.errors import ConfigError

SCOPES = {
    "models": "list models and concepts",
    "chat": "ask",
    "images": "draw and edit",
    "concepts": "teach, change, share and delete concepts",
}
"""What a key may be allowed, and what that means."""
_KEY = re.compile(r"uct_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Key:
    """A key as administrators see it; `prefix` names it, the secret is not here."""

    id: str
    user_id: str
    prefix: str
    label: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None
    revoked: float | None


@dataclass(frozen=True)
class Caller:
    """Whom a valid key belongs to."""

    user_id: str
    user: str
    key_id: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class Keys:
    """All keys of a database."""

    database: Database
    clock: Clock = time.time

    def create(
        self, user_id: str, scopes: Sequence[str] = tuple(SCOPES), label: str = "", days: float | None = None
    ) -> tuple[Key, str]:
        """A new key and its text, which cannot be had again. Raises ConfigError for unknown scopes and impossible days."""
        key, text, digest = self._new(user_id, scopes, label, days)
        with self.database.change() as sql:
            _insert(sql, key, digest)
        return key, text

    def rotate(self, prefix: str, grace_seconds: float = 0.0) -> tuple[Key, str]:
        """A new key in place of an old one, with its scopes, label, remaining time and quotas.

        The old one works for `grace_seconds` more. Raises ConfigError for a key that is unknown or no longer valid.
        """
        old, now = self.get(prefix), self.clock()
        if old.revoked is not None or (old.expires is not None and old.expires <= now):
            raise ConfigError(f"key '{prefix}' is no longer valid: make a new one with 'users key create'")
        days = None if old.expires is None else (old.expires - now) / 86_400
        key, text, digest = self._new(old.user_id, old.scopes, old.label, days)
        until = now + grace_seconds if old.expires is None else min(old.expires, now + grace_seconds)
        with self.database.change() as sql:
            _insert(sql, key, digest)
            sql.run("UPDATE keys SET expires = :until WHERE id = :id", until=until, id=old.id)
            sql.run(
                "INSERT INTO quotas (key_id, kind, amount, per_seconds) "
                "SELECT :new, kind, amount, per_seconds FROM quotas WHERE key_id = :old",
                new=key.id,
                old=old.id,
            )
            sql.run(
                "INSERT INTO buckets (key_id, kind, level, at) "
                "SELECT :new, kind, level, at FROM buckets WHERE key_id = :old",
                new=key.id,
                old=old.id,
            )
        return key, text

    def revoke(self, prefix: str) -> None:
        """End a key at once. Raises ConfigError for an unknown one."""
        key = self.get(prefix)
        with self.database.change() as sql:
            sql.run("UPDATE keys SET revoked = :now WHERE id = :id AND revoked IS NULL", now=self.clock(), id=key.id)

    def get(self, prefix: str) -> Key:
        """A key by its prefix. Raises ConfigError."""
        with self.database.read() as sql:
            row = sql.one("SELECT * FROM keys WHERE prefix = :prefix", prefix=prefix)
        if row is None:
            # Whoever pastes a whole key here must not find it in a log.
            raise ConfigError("no key of this prefix: 'python -m serve users key list USER' shows prefixes")
        return _key(row)

    def of_user(self, user_id: str) -> tuple[Key, ...]:
        """A user's keys, oldest first."""
        with self.database.read() as sql:
            rows = sql.all("SELECT * FROM keys WHERE user_id = :id ORDER BY created, prefix", id=user_id)
        return tuple(map(_key, rows))

    def authenticate(self, text: str) -> Caller | None:
        """Whom a key belongs to, or None when it is malformed, unknown, wrong, expired, revoked or its user locked out."""
        found = _KEY.fullmatch(text)
        prefix, secret = (found[1], found[2]) if found else ("", "")
        with self.database.read() as sql:
            row = sql.one(
                "SELECT keys.*, users.name AS user_name, users.disabled AS disabled FROM keys "
                "JOIN users ON users.id = keys.user_id WHERE keys.prefix = :prefix",
                prefix=prefix,
            )
        digest = _NOBODY if row is None else row.digest
        # Compared also for an unknown prefix: the time tells nothing about which of the two was wrong.
        right = hmac.compare_digest(_digest(secret), digest)
        if row is None or not right or row.revoked is not None or row.disabled is not None:
            return None
        if row.expires is not None and row.expires <= self.clock():
            return None
        return Caller(row.user_id, row.user_name, row.id, frozenset(row.scopes.split()))

    def _new(self, user_id: str, scopes: Sequence[str], label: str, days: float | None) -> tuple[Key, str, str]:
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise ConfigError(f"scope {', '.join(unknown)[:64]!r} does not exist: choose from {', '.join(SCOPES)}")
        if days is not None and not 0 < days <= 36_500:
            raise ConfigError(f"a key valid for {days:g} days cannot be: choose a number above 0")
        if len(label) > 100 or not label.isprintable():
            raise ConfigError("a key's label has at most 100 printable characters: shorten it")
        prefix = "".join(secrets.choice(_ALPHABET) for _ in range(12))
        secret, now = secrets.token_urlsafe(32), self.clock()
        expires = None if days is None else now + days * 86_400
        key = Key(new_id(), user_id, prefix, label, tuple(dict.fromkeys(scopes)), now, expires, None)
        return key, f"uct_{prefix}_{secret}", _digest(secret)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _insert(sql: Any, key: Key, digest: str) -> None:
    sql.run(
        "INSERT INTO keys (id, user_id, prefix, digest, label, scopes, created, expires) "
        "VALUES (:id, :user_id, :prefix, :digest, :label, :scopes, :created, :expires)",
        id=key.id,
        user_id=key.user_id,
        prefix=key.prefix,
        digest=digest,
        label=key.label,
        scopes=" ".join(key.scopes),
        created=key.created,
        expires=key.expires,
    )


def _key(row: Any) -> Key:
    return Key(
        row.id, row.user_id, row.prefix, row.label, tuple(row.scopes.split()), row.created, row.expires, row.revoked
    )
