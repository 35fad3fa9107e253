"""A tracking server in memory that keeps what it is told twice as often as it is told, and can be away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unictokens.tracking.base import Status
from unictokens.tracking.server import NUMBERS, SETTINGS, Away, Number, Refused, Setting


@dataclass
class FakeRun:
    """What the server was told of one run, in order."""

    name: str
    parent: str
    began: int
    told: list[object] = field(default_factory=list)
    status: str = "running"
    reason: str = ""

    def numbers(self) -> list[tuple[str, int, float]]:
        return [(one.name, one.step, one.value) for one in self.told if isinstance(one, Number)]


class FakeServer:
    """`away` lists, call by call, whether it is away before (True) or after (None) it did what it was asked."""

    def __init__(self) -> None:
        self.runs: dict[str, FakeRun] = {}
        self.calls: list[str] = []
        self.away: list[bool | None] = []
        self.refuses: set[str] = set()

    def _called(self, name: str) -> bool:
        """Raises Away where it is away before; whether it is away after."""
        self.calls.append(name)
        now = self.away.pop(0) if self.away else False
        if now:
            raise Away("nobody there")
        return now is None

    def _answer(self, lost: bool) -> None:
        if lost:
            raise Away("done, but the answer was lost")

    def check(self) -> None:
        self._answer(self._called("check"))

    def open(self, spool: str, name: str, tags: Mapping[str, str], parent: str, time: int, going_on: bool) -> str:
        lost = self._called("open")
        run = self.runs.setdefault(spool, FakeRun(name, parent, time))
        if going_on:
            run.status, run.reason, run.parent = "running", "", parent
        self._answer(lost)
        return spool

    def send(self, run: str, items: Sequence[Number | Setting]) -> None:
        lost = self._called("send")
        assert sum(isinstance(item, Number) for item in items) <= NUMBERS
        assert sum(isinstance(item, Setting) for item in items) <= SETTINGS
        if any(item.name in self.refuses for item in items):
            raise Refused("a name that nobody takes")
        self.runs[run].told += items
        self._answer(lost)

    def image(self, run: str, file: Path, name: str, step: int, time: int) -> None:
        lost = self._called("image")
        self.runs[run].told.append((name, step, file.name))
        self._answer(lost)

    def artifact(self, run: str, file: Path) -> None:
        lost = self._called("artifact")
        if not file.is_file():
            raise Refused(f"'{file}' is gone")
        self.runs[run].told.append(file.name)
        self._answer(lost)

    def register(self, run: str, spool: str, concept: str, version: int, bundle: Path) -> None:
        lost = self._called("register")
        self.runs[run].told.append((concept, version, bundle.read_bytes()))
        self._answer(lost)

    def alias(self, concept: str, aliases: Mapping[str, int]) -> bool:
        self._answer(self._called("alias"))
        return True

    def close(self, run: str, status: Status, time: int, reason: str) -> None:
        lost = self._called("close")
        self.runs[run].status, self.runs[run].reason = status, reason
        self._answer(lost)
