"""A look at a run from inside, for parity checks and debugging; it sees everything and changes nothing."""

from typing import Protocol

from unictokens.methods.base import Beginning
from unictokens.training.state import RunState
from unictokens.training.step import Look


class Observer(Protocol):
    """Told of every stage and every step of a run."""

    def begun(self, state: RunState, beginning: Beginning) -> None:
        """A stage has its rows and has made no step."""
        ...

    def stepped(self, state: RunState, look: Look) -> None:
        """The rows have moved; `state.place` is still that step."""
        ...
