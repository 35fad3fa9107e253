"""A client that computes nothing: it says what it was asked, draws one colour, and can be told to fail, wait or refuse."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
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
from unictokens.backbones.base import Turn
from unictokens.concepts.prompt import Prompt, Rows
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.errors import RequestError

VOCABULARY = 1000


@dataclass
class FakeClient:
    """`fails` is raised after the first piece, `refuses` before anything; `pause` seconds lie between events.

    knows  question (its last line, as `plain` writes it) to an answer; others are answered with the question
    """

    tokenizer: TextTokenizer
    fails: Exception | None = None
    refuses: Exception | None = None
    pause: float = 0.0
    knows: dict[str, str] = field(default_factory=dict)
    asked: list[Ask] = field(default_factory=list)
    drawn: list[Draw] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    broken_off: int = 0

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(name="fake", image_size=32, fingerprint="f" * 64)

    def question_tokens(self, turns: Sequence[Turn], longest: int) -> int:
        return self._count(600 - longest, *(part for turn in turns for part in (turn.question, turn.answer)))

    def drawing_tokens(self, prompt: Prompt) -> int:
        return self._count(120, prompt)

    def _count(self, room: int, *prompts: Prompt) -> int:
        tokens = sum(len(self.tokenizer.encode(prompt, VOCABULARY)) for prompt in prompts)
        if tokens > room:
            raise RequestError(f"the text takes {tokens} tokens, there is room for {room}: shorten it")
        return tokens

    def ready(self) -> bool:
        return True

    def forget(self, concept: str) -> None:
        self.forgotten.append(concept)

    async def answer(self, request: Ask) -> AsyncGenerator[AnswerEvent]:
        self.asked.append(request)
        if self.refuses is not None:
            raise self.refuses
        yield Accepted()
        said = plain(request.turns[-1].question, request.names)
        said = self.knows.get(said.splitlines()[-1] if said else "", said)
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

    async def draw(self, request: Draw) -> AsyncGenerator[DrawEvent]:
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


def plain(prompt: Prompt, names: tuple[str, ...]) -> str:
    """A prompt with `[name]` where rows of a concept stand."""
    return "".join(f"[{names[piece.concept]}]" if isinstance(piece, Rows) else piece for piece in prompt)
