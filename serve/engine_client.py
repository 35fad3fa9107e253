"""The engine as a `Client`: its thread's events, translated, in the event loop of whoever asks."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Hashable, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from serve import client
from serve.client import Accepted, AnswerEvent, DrawEvent, ModelInfo, Reference, Said, Sketch, Unavailable
from serve.engine import events as told
from serve.engine.asked import Ask, Asked, Draw
from serve.engine.counters import Counters
from serve.engine.engine import Engine
from serve.engine.settings import EngineSettings
from serve.engine.shelf import ConceptShelf
from unictokens.backbones.base import Sampling, Turn
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.stepper import ShowOStepper
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.prompt import Prompt
from unictokens.errors import ConceptError, StorageError, TimedOut
from unictokens.images import to_pictures, to_tensor

log = logging.getLogger(__name__)

SLACK = 5.0
"""Seconds beyond a request's time after which the engine is not waited for any longer."""


class EngineClient:
    """Asks an engine in this process; use it from one event loop or several."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def over(cls, backbone: ShowO, settings: EngineSettings | None = None) -> "EngineClient":
        """A client with an engine of its own, which runs already."""

        def load(reference: Hashable) -> ConceptBundle:
            assert isinstance(reference, Reference)
            try:
                return reference.load(backbone.info)
            except (ConceptError, StorageError) as error:
                log.warning("concept %s cannot be served: %s", reference.key, error)
                foreign = isinstance(error, ConceptError)
                reason = (
                    "it is gone or does not fit the model that is served" if foreign else "its rows are damaged or away"
                )
                raise Unavailable(f"concept '{reference.name}' cannot be used now: {reason}") from error

        engine = Engine(ShowOStepper(backbone), load, settings)
        engine.start()
        return cls(engine)

    @property
    def info(self) -> ModelInfo:
        """What is served."""
        info = self._engine.stepper.info
        return ModelInfo(name=info.name, image_size=info.image_size, fingerprint=info.fingerprint)

    @property
    def counters(self) -> Counters:
        """The engine's numbers."""
        return self._engine.counters

    @property
    def concepts(self) -> ConceptShelf:
        """The rows that are loaded."""
        return self._engine.shelf

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs."""
        return self._engine.alive

    def question_tokens(self, turns: Sequence[Turn], longest: int) -> int:
        """Tokens of a conversation; see `Client`."""
        return len(self._engine.stepper.question_ids(turns, longest))

    def drawing_tokens(self, prompt: Prompt) -> int:
        """Tokens of a drawing prompt; see `Client`."""
        return len(self._engine.stepper.drawing_ids(prompt))

    def ready(self) -> bool:
        """Whether the engine runs and takes requests."""
        return self._engine.alive and self._engine.accepting

    def forget(self, concept: str) -> None:
        """Drop a concept's rows; requests that use them finish."""
        self._engine.forget(lambda reference: isinstance(reference, Reference) and reference.concept == concept)

    def close(self, seconds: float = 30.0) -> None:
        """Let the requests there are finish, for so long at most; then stop."""
        self._engine.drain(seconds)
        self._engine.close()

    async def answer(self, request: client.Ask) -> AsyncGenerator[AnswerEvent]:
        """Accepted, pieces, Answered; see `Client`."""
        asked = Ask(
            user=request.user,
            turns=request.turns,
            concepts=request.concepts,
            names=request.names,
            seed=request.seed,
            decoding=request.decoding,
            seconds=request.seconds,
            picture_CHW=None if request.picture is None else to_tensor(request.picture),
        )
        async with aclosing(self._events(asked, request.seconds)) as events:
            async for event in events:
                if isinstance(event, told.Accepted):
                    yield Accepted()
                elif isinstance(event, told.Piece):
                    yield Said(event.text)
                elif isinstance(event, told.Answer):
                    yield client.Answered(event.text, event.stopped, event.tokens)

    async def draw(self, request: client.Draw) -> AsyncGenerator[DrawEvent]:
        """Accepted, sketches, Drawn; see `Client`."""
        sampling, canvas = request.sampling, request.canvas
        info, grid = self._engine.stepper.info, round(self._engine.stepper.info.codes**0.5)
        shown = sketched(sampling.steps, request.partials)
        asked = Draw(
            user=request.user,
            prompt=request.prompt,
            concepts=request.concepts,
            seed=request.seed,
            sampling=Sampling(
                steps=sampling.steps, guidance=sampling.guidance, temperature=sampling.temperature, trace=shown
            ),
            seconds=request.seconds,
            picture_CHW=None if canvas is None else to_tensor(canvas.picture),
            redraw_N=None if canvas is None else touched(canvas.redraw, info.image_size // grid),
        )
        async with aclosing(self._events(asked, request.seconds)) as events:
            async for event in events:
                if isinstance(event, told.Accepted):
                    yield Accepted()
                elif isinstance(event, told.Partial):
                    yield Sketch(shown.index(event.step), _picture(event.picture_CHW))
                elif isinstance(event, told.Drawn):
                    yield client.Drawn(_picture(event.picture_CHW))

    async def _events(self, asked: Asked, seconds: float) -> AsyncGenerator[Any]:
        """The engine's events; of the last one, what it holds. Raises what ended the request."""
        loop, heard = asyncio.get_running_loop(), asyncio.Queue[told.Event]()

        def hear(event: told.Event) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, event)

        # In a thread: a concept may have to be read from disk first.
        submitting = asyncio.ensure_future(asyncio.to_thread(self._engine.submit, asked, hear))
        try:
            handle = await asyncio.shield(submitting)
        except asyncio.CancelledError:
            submitting.add_done_callback(self._withdraw)
            raise
        ends = loop.time() + seconds + SLACK
        try:
            while True:
                async with asyncio.timeout(ends - loop.time()):
                    event = await heard.get()
                if isinstance(event, told.Failed):
                    raise event.error
                if isinstance(event, told.Done):
                    yield event.result
                    return
                yield event
        except TimeoutError as error:
            raise TimedOut(f"the request took longer than {seconds:.0f} s: ask for less, or try again") from error
        finally:
            self._engine.cancel(handle)

    def _withdraw(self, submitting: "asyncio.Future[told.Handle]") -> None:
        if not submitting.cancelled() and submitting.exception() is None:
            self._engine.cancel(submitting.result())


def sketched(steps: int, partials: int) -> tuple[int, ...]:
    """The 1-based steps after which so many unfinished pictures are shown, evenly apart, before the last one."""
    return tuple(sorted({max(1, (at + 1) * steps // (partials + 1)) for at in range(min(partials, steps - 1))}))


def touched(redraw: np.ndarray, patch: int) -> Tensor:
    """Bool [N]: the codes, row by row, whose square of `patch` pixels has any place of a bool [S, S]."""
    side = redraw.shape[0] // patch
    return torch.from_numpy(redraw.reshape(side, patch, side, patch).any(axis=(1, 3)).reshape(-1))


def _picture(picture_CHW: Tensor) -> Image.Image:
    return to_pictures(picture_CHW[None])[0]
