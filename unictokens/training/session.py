"""What a host (a command line, a lane of a cluster) is to a run: somebody to tell, and somebody who may say stop."""

from dataclasses import dataclass, field
from typing import Protocol

from unictokens.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is. Epochs and steps count from 1; step 0 means that the epoch has not begun.

    losses  of the last step: "understanding", "generation" (where the stage has them) and "total"
    """

    concept: str
    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    losses: dict[str, float] = field(default_factory=dict)


class Withdrawn(TrainingError):
    """The host takes a run away where it stands; what it learned since it was last saved is lost."""


class Session(Protocol):
    """The host of a run."""

    def report(self, progress: Progress) -> None:
        """Called after every step, before anything of it is saved; must return at once. May raise Withdrawn."""
        ...

    def should_leave(self) -> bool:
        """Asked after every step that ends no epoch, must answer at once; True saves the state and ends the run there, to be
        resumed with the next step. May raise Withdrawn."""
        ...

    def should_stop(self) -> bool:
        """Asked after every epoch, when its state is on disk; True ends the run there, to be resumed later."""
        ...


@dataclass(frozen=True)
class Alone:
    """No host: nobody is told, nobody stops the run."""

    def report(self, progress: Progress) -> None:
        return None

    def should_leave(self) -> bool:
        return False

    def should_stop(self) -> bool:
        return False
