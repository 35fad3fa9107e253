"""A client that computes nothing: it says what it was asked, draws one colour, and can be told to fail, wait or refuse."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from PIL import Image

from serve.client import (
    Accepted,
    Answered,
    AnswerEvent,
    Ask,
    Draw,
    DrawEvent,
    Drawn,
    ModelInfo,
    Said,
    Sketch,
)
from unictokens.concepts.prompt import Prompt, Rows
from unictokens.concepts.tokenizer import TextTokenizer

VOCABULARY = 1000


@dataclass
class FakeClient:
    """`fails` is raised after the first piece, `refuses` before anything; `pause` seconds lie between events."""

    tokenizer: TextTokenizer
    fails: Exception | None = None
    refuses: Exception | None = None
    pause: float = 0.0
    asked: list[Ask] = field(default_factory=list)
    drawn: list[Draw] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    broken_off: int = 0

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(name="fake", image_size=32, grid=4, chat_tokens=600, drawing_tokens=120)

    def count(self, prompt: Prompt) -> int:
        return len(self.tokenizer.encode(prompt, VOCABULARY))

    def ready(self) -> bool:
        return True

    def forget(self, concept: str) -> None:
        self.forgotten.append(concept)

    async def answer(self, request: Ask) -> AsyncIterator[AnswerEvent]:
        self.asked.append(request)
        if self.refuses is not None:
            raise self.refuses
        yield Accepted()
        said = " ".join(_words(request.prompt, request.names))
        try:
            await asyncio.sleep(self.pause)
            yield Said(said[:5])
            if self.fails is not None:
                raise self.fails
            await asyncio.sleep(self.pause)
            yield Said(said[5:])
            yield Answered(said, "stop", len(said.split()))
        except (asyncio.CancelledError, GeneratorExit):
            self.broken_off += 1
            raise

    async def draw(self, request: Draw) -> AsyncIterator[DrawEvent]:
        self.drawn.append(request)
        if self.refuses is not None:
            raise self.refuses
        yield Accepted()
        await asyncio.sleep(self.pause)
        for index in range(request.partials):
            yield Sketch(index, Image.new("RGB", (32, 32), "grey"))
        if self.fails is not None:
            raise self.fails
        yield Drawn(Image.new("RGB", (32, 32), (request.seed % 256, 0, 255)))


def _words(prompt: Prompt, names: tuple[str, ...]) -> list[str]:
    return [f"[{names[piece.concept]}]" if isinstance(piece, Rows) else piece for piece in prompt]
