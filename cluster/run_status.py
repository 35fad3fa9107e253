"""Where a run stands, and the words in which lanes and their queue speak of runs."""

from dataclasses import dataclass, field
from typing import Literal

from unictokens.learn import RunPlan

RunStateName = Literal["waiting", "running", "finished", "failed", "stopped"]
OVER: tuple[RunStateName, ...] = ("finished", "failed", "stopped")


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Where a run stands. `done` is 0 to 1; `error` is one line; `version` is set once it is published.

    attempts  how often it was handed out; the number of its newest ticket
    strikes   how often, since an epoch of it was last saved, it failed or its lane died
    ask       the question to which it was the answer
    """

    name: str
    concept: str
    state: RunStateName = "waiting"
    lane: str = ""
    attempts: int = 0
    strikes: int = 0
    ask: str = ""
    stage: str = ""
    epoch: int = 0
    epochs: int = 0
    done: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    version: int | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it in this job."""
        return self.state in OVER

    @property
    def share(self) -> float:
        """How much of it is behind, 0 to 1; a run that is over counts whole."""
        return 1.0 if self.over else self.done


@dataclass(frozen=True)
class Ticket:
    """The right of a lane to one attempt at a run."""

    run: str
    lane: str
    attempt: int


@dataclass(frozen=True)
class Handed:
    """A run in a lane's hands."""

    plan: RunPlan
    ticket: Ticket


@dataclass(frozen=True)
class Answer:
    """What `take` answers: a run or nothing; `more` says whether it is worth asking again later."""

    handed: Handed | None
    more: bool
