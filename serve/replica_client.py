"""Replicas of the model as a `Client`: streaming calls of a Ray Serve handle, and what becomes of a request whose replica dies.

A replica yields a request's events and, where it has no result, `Lost`. Until something of the result was shown the request is put
to another replica, once: its seed is fixed, so that the second one does the same work. After that its caller gets an error.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from serve.client import Accepted, AnswerEvent, Ask, Draw, DrawEvent, ModelInfo, Said, Sketch
from serve.config import SLACK
from serve.refusal import Refusal
from unictokens.backbones.base import Turn
from unictokens.concepts.prompt import Prompt
from unictokens.errors import Busy, TimedOut, UniCTokensError

log = logging.getLogger(__name__)

T = TypeVar("T")

ENDED = (RayActorError, TaskCancelledError, DeploymentUnavailableError, ReplicaUnavailableError)
"""What Ray raises when a replica dies over a call or before it."""
TRIES = 2
SHORT = 30.0
"""Seconds for a call that computes next to nothing."""
LOOK = 2.0
"""Seconds between looks at whether a replica answers."""
STALE = 20.0
"""Seconds without an answer after which the endpoint says that it is not ready."""


@dataclass(frozen=True)
class Lost:
    """The last event of a request without a result. Errors of ours survive the way between processes unchanged."""

    error: UniCTokensError


class ReplicaClient:
    """Asks the replicas behind `handle`; `watch` keeps what is known of them up to date."""

    def __init__(self, handle: DeploymentHandle, info: ModelInfo, forget_seconds: float = 10.0) -> None:
        self._handle = handle
        self._streams = handle.options(stream=True)
        self._info = info
        self._seen = time.monotonic()
        self._forget_seconds = forget_seconds

    @property
    def info(self) -> ModelInfo:
        """What is served, as a replica said last."""
        return self._info

    async def watch(self) -> None:
        """Ask a replica what it is, for ever: after an update it may be another model."""
        while True:
            with suppress(RayError, BackPressureError, TimeoutError, *ENDED):
                async with asyncio.timeout(SHORT):
                    self._info = await self._handle.info.remote()
                self._seen = time.monotonic()
            await asyncio.sleep(LOOK)

    def ready(self) -> bool:
        """Whether a replica has answered of late."""
        return time.monotonic() - self._seen < STALE

    def question_tokens(self, turns: Sequence[Turn], longest: int) -> int:
        """Tokens of a conversation; see `Client`. Not in the event loop: it waits for a replica."""
        return asked(lambda: self._handle.question_tokens.remote(tuple(turns), longest))

    def drawing_tokens(self, prompt: Prompt) -> int:
        """Tokens of a drawing prompt; see `Client`. Not in the event loop."""
        return asked(lambda: self._handle.drawing_tokens.remote(prompt))

    def forget(self, concept: str) -> None:
        """Let every replica drop a concept's rows. One that cannot be told is ending, and its memory with it."""
        try:
            self._handle.broadcast("forget", concept).results(timeout_s=self._forget_seconds)
        except (RayError, TimeoutError) as error:
            log.warning("not every replica was told to forget a concept: %s", " ".join(str(error).split())[:200])

    def answer(self, request: Ask) -> AsyncGenerator[AnswerEvent]:
        """Accepted, pieces, Answered; see `Client`."""
        return self._events("answer", request)

    def draw(self, request: Draw) -> AsyncGenerator[DrawEvent]:
        """Accepted, sketches, Drawn; see `Client`."""
        return self._events("draw", request)

    async def _events(self, method: str, request: Any) -> AsyncGenerator[Any]:
        ends = time.monotonic() + request.seconds
        accepted = shown = False
        for left in reversed(range(TRIES)):
            seconds = max(0.1, ends - time.monotonic())
            events = getattr(self._streams, method).remote(replace(request, seconds=seconds))
            try:
                while True:
                    try:
                        async with asyncio.timeout(seconds + SLACK):
                            event = await anext(events)
                    except StopAsyncIteration:
                        return
                    if isinstance(event, Lost):
                        raise event.error
                    if isinstance(event, Accepted):
                        if not accepted:
                            accepted = True
                            yield event
                        continue
                    shown = shown or isinstance(event, Said | Sketch)
                    yield event
            except BackPressureError as error:
                raise too_many() from error
            except TimeoutError as error:
                raise TimedOut(f"the request took longer than {request.seconds:.0f} s: ask for less") from error
            except RayTaskError as error:
                raise of_ours(error) from error
            except ENDED as error:
                log.warning("a replica ended during a request (%s)", type(error).__name__)
                if shown or not left:
                    raise gone() from error
            finally:
                events.cancel()


def asked(call: Callable[[], Any]) -> Any:
    """What a replica answers to a short question, asked once more when it dies over it. Raises UniCTokensError."""
    for left in reversed(range(TRIES)):
        try:
            return call().result(timeout_s=SHORT)
        except BackPressureError as error:
            raise too_many() from error
        except TimeoutError as error:
            raise TimedOut(f"no replica answered within {SHORT:.0f} s: try again later") from error
        except RayTaskError as error:
            raise of_ours(error) from error
        except ENDED as error:
            if not left:
                raise gone() from error
    raise AssertionError("every try returns or raises")


def of_ours(error: RayTaskError) -> Exception:
    """The error that the other side raised, if it is one of ours."""
    return error.cause if isinstance(error.cause, UniCTokensError) else error


def too_many() -> Busy:
    """Ray's queue is full."""
    return Busy("the server is busy: try again in 2 s", 2.0)


def gone() -> Refusal:
    """The replica has died, and the request with it."""
    return Refusal(503, "replica_lost", "the server that worked on this request has ended: ask again", retry_after=1.0)
