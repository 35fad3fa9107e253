"""What a request hears: accepted, pieces or unfinished pictures, and one end; and the handle it hears it through."""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from unictokens.errors import ConfigError, TimedOut, UniCTokensError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Accepted:
    """The request waits behind `before` others of its kind."""

    before: int


@dataclass(frozen=True)
class Piece:
    """More of an answer; all pieces joined are its text."""

    text: str


@dataclass(frozen=True, eq=False)
class Partial:
    """A drawing as it would be if it ended after 1-based `step`: float32 [3, S, S]."""

    step: int
    picture_CHW: Tensor


@dataclass(frozen=True)
class Answer:
    """A finished answer; `prompt_tokens` count the text, not the picture."""

    text: str
    stopped: Literal["stop", "length"]
    tokens: int
    prompt_tokens: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """A finished drawing: codes int64 [N] and picture float32 [3, S, S], nominally in [-1, 1], on the CPU."""

    codes_N: Tensor
    picture_CHW: Tensor


@dataclass(frozen=True)
class Done:
    """The end: the result."""

    result: Answer | Drawn


@dataclass(frozen=True)
class Failed:
    """The end: why there is no result."""

    error: UniCTokensError


Event = Accepted | Piece | Partial | Done | Failed


@dataclass(eq=False)
class Handle:
    """One request. Its events go to `on_event`, called by the engine's thread, or wait here to be read, by one reader."""

    on_event: Callable[[Event], None] | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    _events: "queue.SimpleQueue[Event]" = field(default_factory=queue.SimpleQueue)
    _cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop it; it stops between two steps."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask to stop it. For a request that has ended this means nothing."""
        self._cancelled.set()

    def tell(self, event: Event) -> None:
        """The engine's side: pass an event on. A listener that fails has left."""
        if self.on_event is None:
            self._events.put(event)
            return
        try:
            self.on_event(event)
        except Exception:  # a stranger's code, which must not end the thread that serves everybody
            log.exception("the listener of request %s failed: the request is cancelled", self.id)
            self.cancel()

    def events(self, seconds: float | None = None) -> Iterator[Event]:
        """All events up to the end. Raises TimedOut when none comes for so long; the request itself goes on.

        Raises ConfigError where a listener gets the events.
        """
        if self.on_event is not None:
            raise ConfigError(f"the events of request {self.id} go to its listener: read them there")
        while True:
            try:
                event = self._events.get(timeout=seconds)
            except queue.Empty as error:
                raise TimedOut(f"nothing was heard of request {self.id} for {seconds} s: wait longer") from error
            yield event
            if isinstance(event, Done | Failed):
                return

    def result(self, seconds: float | None = None) -> Answer | Drawn:
        """Wait for the end: the result, or the error raised. Raises TimedOut after `seconds`; the request itself goes on."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            for event in self.events(left):
                if isinstance(event, Done):
                    return event.result
                if isinstance(event, Failed):
                    raise event.error
                break
