"""A request inside the engine, from its place in the line to its one end."""

from collections.abc import Callable
from dataclasses import dataclass, field

from serve.engine.asked import Asked
from serve.engine.counters import LaneCounters
from serve.engine.events import Answer, Done, Drawn, Failed, Handle
from serve.engine.shelf import Kept
from unictokens.backbones.steps import Canvas, Speech
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import Cancelled, TimedOut, UniCTokensError


@dataclass(eq=False, kw_only=True)
class Job:
    """A request with what it needs.

    ids       text ids of its prompt
    kept      its concepts, which `release` gives back
    cost      how much work it is, in a unit of its lane's own
    """

    asked: Asked
    handle: Handle
    ids: list[int]
    kept: tuple[Kept, ...]
    release: Callable[[Kept], None]
    counters: LaneCounters
    clock: Callable[[], float]
    cost: float
    submitted: float
    deadline: float
    work: Canvas | Speech | None = None
    ended: bool = False
    tokens: list[ConceptTokens] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = [kept.tokens for kept in self.kept]

    def due(self) -> UniCTokensError | None:
        """Why it must end now, if it must."""
        if self.handle.cancelled:
            return Cancelled("the request was cancelled")
        if self.clock() >= self.deadline:
            return TimedOut(
                f"the request was not finished in {self.deadline - self.submitted:.3g} s: ask for less, or try again later"
            )
        return None

    def finish(self, result: Answer | Drawn) -> None:
        """End with a result."""
        self.counters.done += 1
        self.counters.whole.add(self.clock() - self.submitted)
        self._end(Done(result))

    def fail(self, error: UniCTokensError) -> None:
        """End without a result."""
        if isinstance(error, Cancelled):
            self.counters.cancelled += 1
        elif isinstance(error, TimedOut):
            self.counters.timed_out += 1
        else:
            self.counters.failed += 1
        self._end(Failed(error))

    def _end(self, event: Done | Failed) -> None:
        assert not self.ended, "a request ends once"
        self.ended, self.work = True, None
        for kept in self.kept:
            self.release(kept)
        self.handle.tell(event)
