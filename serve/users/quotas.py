"""What a key may use per time: buckets that refill steadily, kept in the database so that replicas and restarts share them.

A quota of 600 per 60 s is a bucket of 600 that gains 10 each second.
"""

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from serve.refusal import Refusal
from serve.users.accounts import Clock
from serve.users.database import Database
from unictokens.errors import ConfigError

_WRITTEN = re.compile(r"(\d{1,15})/(\d{1,9})")


@dataclass(frozen=True)
class Quota:
    """`amount` per `seconds`."""

    amount: float
    seconds: float

    @classmethod
    def parse(cls, text: str) -> "Quota":
        """From "600/60". Raises ConfigError."""
        found = _WRITTEN.fullmatch(text)
        if found is None or not int(found[2]):
            raise ConfigError(f"quota {text[:40]!r} is not AMOUNT/SECONDS: write for example 600/60")
        return cls(float(found[1]), float(found[2]))

    def __str__(self) -> str:
        return f"{self.amount:.0f}/{self.seconds:.0f}"


DEFAULTS = {
    "requests": Quota(600, 60),
    "images": Quota(300, 3600),
    "concepts": Quota(20, 86_400),
    "bytes": Quota(2**30, 3600),
}
"""Kinds of quota and what a key has of each unless set otherwise."""


@dataclass(frozen=True)
class Quotas:
    """The quotas of all keys of a database; `defaults` where a key has none of its own."""

    database: Database
    defaults: Mapping[str, Quota] = field(default_factory=lambda: dict(DEFAULTS))
    clock: Clock = time.time

    def set(self, key_id: str, kind: str, quota: Quota) -> None:
        """Give a key a quota of its own. Raises ConfigError for an unknown kind."""
        if kind not in self.defaults:
            raise ConfigError(f"quota '{kind[:40]}' does not exist: choose one of {', '.join(self.defaults)}")
        with self.database.change() as sql:
            sql.run(
                "INSERT INTO quotas (key_id, kind, amount, per_seconds) VALUES (:key, :kind, :amount, :seconds) "
                "ON CONFLICT (key_id, kind) DO UPDATE SET amount = :amount, per_seconds = :seconds",
                key=key_id,
                kind=kind,
                amount=quota.amount,
                seconds=quota.seconds,
            )

    def of_key(self, key_id: str) -> dict[str, Quota]:
        """All quotas of a key."""
        with self.database.read() as sql:
            rows = sql.all("SELECT kind, amount, per_seconds FROM quotas WHERE key_id = :key", key=key_id)
        return {**self.defaults, **{row.kind: Quota(row.amount, row.per_seconds) for row in rows}}

    def take(self, key_id: str, kind: str, cost: float = 1.0) -> None:
        """Use `cost` of a key's quota. Raises Refusal (429, with the seconds until it would fit)."""
        if cost <= 0:
            return
        now = self.clock()
        with self.database.change() as sql:
            own = sql.one(
                "SELECT amount, per_seconds FROM quotas WHERE key_id = :key AND kind = :kind", key=key_id, kind=kind
            )
            quota = self.defaults[kind] if own is None else Quota(own.amount, own.per_seconds)
            sql.run(
                "INSERT INTO buckets (key_id, kind, level, at) VALUES (:key, :kind, :full, :now) "
                "ON CONFLICT (key_id, kind) DO NOTHING",
                key=key_id,
                kind=kind,
                full=quota.amount,
                now=now,
            )
            rate = quota.amount / quota.seconds
            # A clock that is behind (another replica's) takes nothing away.
            refilled = "level + :rate * CASE WHEN :now > at THEN :now - at ELSE 0 END"
            # One statement decides and takes, so that replicas cannot both take the last one.
            taken = sql.run(
                f"UPDATE buckets SET level = CASE WHEN {refilled} > :full THEN :full ELSE {refilled} END - :cost, "
                "at = CASE WHEN :now > at THEN :now ELSE at END WHERE key_id = :key AND kind = :kind "
                f"AND CASE WHEN {refilled} > :full THEN :full ELSE {refilled} END >= :cost",
                rate=rate,
                now=now,
                full=quota.amount,
                cost=cost,
                key=key_id,
                kind=kind,
            )
            if taken:
                return
            row = sql.one("SELECT level, at FROM buckets WHERE key_id = :key AND kind = :kind", key=key_id, kind=kind)
        if cost > quota.amount:
            raise Refusal(
                429,
                "quota_too_small",
                f"this needs {cost:.0f} {kind}, the key's whole quota is {quota.amount:.0f} per {quota.seconds:.0f} s",
                retry_after=quota.seconds,
            )
        level = 0.0 if row is None else row.level + rate * max(0.0, now - row.at)
        wait = math.ceil((cost - level) / rate) if rate else quota.seconds
        raise Refusal(
            429,
            "quota_exceeded",
            f"the key's quota of {quota.amount:.0f} {kind} per {quota.seconds:.0f} s is used up: try again in {wait} s",
            retry_after=max(1.0, wait),
        )
