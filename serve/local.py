"""The simplest client: a backbone in this process and one thread that works through requests one after the other.

For a single machine, tests, and comparison with engines that batch. A drawing cannot be broken off half way.
"""

import asyncio
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from serve.client import (
    Accepted,
    Answered,
    AnswerEvent,
    Ask,
    Busy,
    Draw,
    DrawEvent,
    Drawn,
    ModelInfo,
    Reference,
    Said,
    Sketch,
    TooLate,
    Unavailable,
)
from unictokens.backbones.base import AnswerRequest, Backbone, GenerationRequest, Sampling
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError, ConfigError, StorageError
from unictokens.images import to_pictures, to_tensor

log = logging.getLogger(__name__)

KEPT = 256
"""Concepts whose rows stay in memory."""
CONTEXT = 1024
"""Places of a sequence where the backbone does not say how many it has."""
FRAME = 16
"""Places that a conversation's frame ("USER: ... ASSISTANT:") and its marks take."""


class _Job:
    """A request on its way: its thread tells events, its reader may cancel it."""

    def __init__(self, work: Callable[["_Job"], None], seconds: float) -> None:
        self.work = work
        self.ends = time.monotonic() + seconds
        self.cancelled = False
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def tell(self, event: Any) -> None:
        """From the working thread; None ends the events, an error is raised to the reader."""
        # The reader's loop is gone when a server stops in the middle of work: nobody is left to be told.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)

    def check(self) -> None:
        """Raises TooLate when nobody waits for the result any more."""
        if self.cancelled or time.monotonic() > self.ends:
            raise TooLate("the request took too long: ask for less, or try again")


class LocalClient:
    """Computes with `backbone`; at most `waiting` requests queue up."""

    def __init__(self, backbone: Backbone, waiting: int = 64) -> None:
        self._backbone = backbone
        self._tokens: OrderedDict[str, ConceptTokens] = OrderedDict()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(waiting)
        self._keeping = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="local-client", daemon=True)
        self._thread.start()

    @property
    def info(self) -> ModelInfo:
        """What is served."""
        info = self._backbone.info
        config = getattr(self._backbone, "config", None)
        context = CONTEXT if config is None else int(config.phi.get("max_position_embeddings", 2048))
        return ModelInfo(
            name=info.name,
            image_size=info.image_size,
            grid=round(info.codes**0.5),
            chat_tokens=context - info.codes - 3 - FRAME,
            drawing_tokens=info.text_length - 2,
        )

    def count(self, prompt: Prompt) -> int:
        """How many tokens a prompt has."""
        return len(self._backbone.tokenize(prompt))

    def ready(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    async def answer(self, request: Ask) -> AsyncIterator[AnswerEvent]:
        """Accepted, pieces, Answered; see `Client`."""
        async for event in self._events(lambda job: self._answer(request, job), request.seconds):
            yield event

    async def draw(self, request: Draw) -> AsyncIterator[DrawEvent]:
        """Accepted, sketches, Drawn; see `Client`."""
        async for event in self._events(lambda job: self._draw(request, job), request.seconds):
            yield event

    def forget(self, concept: str) -> None:
        """Drop the rows of a concept."""
        with self._keeping:
            for key in [key for key in self._tokens if key.partition("@")[0] == concept]:
                del self._tokens[key]

    def close(self) -> None:
        """End the thread after the request it is at."""
        self._jobs.put(None)
        self._thread.join(60)

    async def _events(self, work: Callable[[_Job], None], seconds: float) -> AsyncIterator[Any]:
        job = _Job(work, seconds)
        try:
            self._jobs.put_nowait(job)
        except queue.Full as error:
            raise Busy(2.0) from error
        try:
            while True:
                async with asyncio.timeout(max(0.0, job.ends - time.monotonic())):
                    event = await job.events.get()
                if isinstance(event, BaseException):
                    raise event
                if event is None:
                    return
                yield event
        except TimeoutError as error:
            raise TooLate(f"the request took longer than {seconds:.0f} s: ask for less, or try again") from error
        finally:
            job.cancelled = True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.check()
                job.work(job)
                job.tell(None)
            # Whatever went wrong belongs to this request; the thread goes on with the next.
            except Exception as error:
                job.tell(error)

    def _answer(self, request: Ask, job: _Job) -> None:
        bank = self._bank(request.concepts)
        job.tell(Accepted())

        def say(_: int, text: str) -> None:
            job.check()
            job.tell(Said(text))

        asked = AnswerRequest(request.prompt, self._codes(request.picture), _places(request.concepts), request.names)
        generator = Generator().manual_seed(request.seed)
        text = self._backbone.answer([asked], bank, request.decoding, generator, say)[0].strip()
        tokens = self.count((text,))
        job.tell(Answered(text, "length" if tokens >= request.decoding.max_tokens else "stop", tokens))

    def _draw(self, request: Draw, job: _Job) -> None:
        bank = self._bank(request.concepts)
        job.tell(Accepted())
        steps, wanted = request.sampling.steps, min(request.partials, request.sampling.steps - 1)
        shown = tuple(sorted({(at + 1) * steps // (wanted + 1) or 1 for at in range(wanted)}))
        sampling = Sampling(
            steps=steps, guidance=request.sampling.guidance, temperature=request.sampling.temperature, trace=shown
        )
        if request.canvas is None:
            asked = GenerationRequest(request.prompt, request.seed, _places(request.concepts))
            drawing = self._backbone.generate([asked], bank, sampling)[0]
        else:
            drawing = self._redraw(request, bank, sampling)
        for index, step in enumerate(shown):
            job.tell(Sketch(index, self._picture(drawing.trace[step])))
        job.tell(Drawn(self._picture(drawing.codes_N)))

    def _redraw(self, request: Draw, bank: ConceptBank, sampling: Sampling) -> Any:
        from unictokens.backbones.showo.backbone import ShowO
        from unictokens.backbones.showo.drawing import DrawingTask
        from unictokens.sampling.maskgit import HIDDEN

        backbone, canvas = self._backbone, request.canvas
        if canvas is None or not isinstance(backbone, ShowO):
            raise ConfigError("this backbone cannot redraw a part of a picture: serve a Show-o")
        codes_N = self._codes(canvas.picture)
        assert codes_N is not None
        hidden_N = torch.from_numpy(touched(canvas.redraw, self.info.grid).reshape(-1))
        task = DrawingTask(backbone.language_model, backbone.sequences, codes_N.shape[0], bank.to(backbone.device))
        generator = Generator(backbone.device).manual_seed(request.seed)
        start_BN = codes_N.masked_fill(hidden_N, HIDDEN)[None]
        texts, concepts = [backbone.tokenize(request.prompt)], [_places(request.concepts)]
        return task.run(texts, concepts, sampling, [generator], start_BN)[0]

    def _bank(self, concepts: Sequence[Reference]) -> ConceptBank:
        if not concepts:
            return ConceptBank.empty(self._backbone.info.width)
        return ConceptBank.stack([self._rows(reference) for reference in concepts])

    def _rows(self, reference: Reference) -> ConceptTokens:
        with self._keeping:
            if reference.key in self._tokens:
                self._tokens.move_to_end(reference.key)
                return self._tokens[reference.key]
        try:
            tokens = reference.load(self._backbone.info).tokens
        except (ConceptError, StorageError) as error:
            log.warning("concept %s cannot be served: %s", reference.key, error)
            foreign = isinstance(error, ConceptError)
            reason = (
                "it is gone or does not fit the model that is served" if foreign else "its rows are damaged or away"
            )
            raise Unavailable(reference.key, reason) from error
        with self._keeping:
            self._tokens[reference.key] = tokens
            if len(self._tokens) > KEPT:
                self._tokens.popitem(last=False)
        return tokens

    def _codes(self, picture: Image.Image | None) -> Tensor | None:
        return None if picture is None else self._backbone.encode(to_tensor(picture)[None])[0]

    def _picture(self, codes_N: Tensor) -> Image.Image:
        return to_pictures(self._backbone.decode(codes_N[None]))[0]


def touched(redraw: np.ndarray, grid: int) -> np.ndarray:
    """Bool [grid, grid]: the codes whose patch of a bool [S, S] has any place to redraw."""
    patch = redraw.shape[0] // grid
    return np.asarray(redraw.reshape(grid, patch, grid, patch).any(axis=(1, 3)))


def _places(concepts: Sequence[Reference]) -> tuple[int, ...]:
    return tuple(range(len(concepts))) or (0,)
