"""What an uploader needs of a tracking server. Everything may be told twice and is kept once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unictokens.errors import StorageError
from unictokens.tracking.base import Status


class Away(StorageError):
    """The server does not answer now, or is broken; later it may take the same."""


class Refused(StorageError):
    """The server will never take this."""


@dataclass(frozen=True)
class Number:
    """A metric's value at a step; `time` in milliseconds since 1970."""

    name: str
    step: int
    value: float
    time: int


@dataclass(frozen=True)
class Setting:
    """A parameter of a run."""

    name: str
    value: str


class Server(Protocol):
    """A tracking server. Every call raises Away or Refused."""

    def check(self) -> None:
        """See that it answers."""
        ...

    def open(self, spool: str, name: str, tags: Mapping[str, str], parent: str, time: int, going_on: bool) -> str:
        """The run that belongs to a spool, found or begun; returns the server's name for it.

        parent    the server's name of the run that it is nested in, "" for none
        time      when it began
        going_on  let it run from now on, also where it was over
        """
        ...

    def send(self, run: str, items: Sequence[Number | Setting]) -> None:
        """Numbers and settings of a run, at most `NUMBERS` and `SETTINGS` of each."""
        ...

    def image(self, run: str, file: Path, name: str, step: int, time: int) -> None:
        """A picture of a series."""
        ...

    def artifact(self, run: str, file: Path) -> None:
        """A file of a run."""
        ...

    def register(self, run: str, spool: str, concept: str, version: int, bundle: Path) -> None:
        """A concept's version: its bundle as the run's artifact, and an entry of the registry that points to it."""
        ...

    def alias(self, concept: str, aliases: Mapping[str, int]) -> bool:
        """Let a concept's aliases be these and no others; False when the registry does not have all versions yet."""
        ...

    def close(self, run: str, status: Status, time: int, reason: str) -> None:
        """The run is over; `reason` says why it ended without a word, "" where it had one."""
        ...


NUMBERS = 1_000
SETTINGS = 100
"""Most numbers and settings of one `send`."""
