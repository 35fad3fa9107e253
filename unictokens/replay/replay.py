"""A replay with somebody who answers: `replay(pipeline, "A photo of <bo> with its hat.").prompt` is what to draw."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from unictokens.backbones.base import Decoding
from unictokens.replay.recall import Round, recall
from unictokens.replay.settings import ReplaySettings
from unictokens.replay.trace import Trace


class Answering(Protocol):
    """What answers; a `Pipeline` does. `bare` is the same model without any concept."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def bare(self) -> "Answering": ...

    def ask_all(self, asked: Sequence[tuple[str, Path | None]], decoding: Decoding | None = None) -> list[str]: ...


def replay(pipeline: Answering, prompt: str, settings: ReplaySettings | None = None) -> Trace:
    """Ask the pipeline's concepts for what the prompt needs; greedy, so the same question has the same answer."""
    asking = recall(prompt, pipeline.names, settings or ReplaySettings())
    try:
        wanted = next(asking)
        while True:
            who = pipeline if wanted.personal else pipeline.bare
            decoding = Decoding(max_tokens=wanted.max_tokens)
            wanted = asking.send(who.ask_all([(question, None) for question in wanted.questions], decoding))
    except StopIteration as done:
        trace: Trace = done.value
        return trace


async def replay_awaited(
    answer: Callable[[Round], Awaitable[Sequence[str]]], prompt: str, names: Sequence[str], settings: ReplaySettings
) -> Trace:
    """The same for a service: `answer` is awaited with each round of questions; what it raises ends the replay."""
    asking = recall(prompt, names, settings)
    try:
        wanted = next(asking)
        while True:
            wanted = asking.send(await answer(wanted))
    except StopIteration as done:
        trace: Trace = done.value
        return trace
