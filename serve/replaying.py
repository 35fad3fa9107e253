"""Knowledge replay in requests: before a prompt is used, the concepts that it names say what it refers to ("its hat").

The questions are asked of the model that serves, as the caller's own, and nothing but the caller's text and those answers gets
into the prompt: names in it mean what they meant before.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from serve.client import Answered, AnswerEvent, Ask, Client
from serve.protocol import Message
from serve.refusal import Refusal
from serve.translate import Named, chat_turns
from unictokens.backbones.base import Decoding
from unictokens.replay.recall import Round
from unictokens.replay.replay import replay_awaited
from unictokens.replay.settings import ReplaySettings
from unictokens.replay.trace import Trace

LEAST = 0.1
"""Seconds that a request has left at least: what is over the deadline is told by whoever works on it."""
_ASKS = re.compile(r"\s*(?:what|where|which|who|whose|whom|how|when|why)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Replayed:
    """What came of it, and the seconds that the request has left."""

    trace: Trace
    seconds: float


async def replayed(
    text: str, named: Named, client: Client, user: str, seconds: float, fits: Callable[[str], object]
) -> Replayed:
    """Replay what the concepts of a request know of `text`, a drawing prompt or a question.

    fits  raises Refusal for a text that is too long; then the text stays as it was
    Raises what the client raises.
    """
    ends = time.monotonic() + seconds

    async def answer(asked: Round) -> Sequence[str]:
        return await asyncio.gather(*(_said(client.answer(request)) for request in _asks(asked)))

    def _asks(asked: Round) -> list[Ask]:
        turns = [chat_turns([Message(role="user", content=question)], named) for question in asked.questions]
        return [
            Ask(
                user=user,
                turns=each,
                concepts=named.references,
                names=named.names,
                picture=None,
                decoding=Decoding(max_tokens=asked.max_tokens),
                seed=0,
                seconds=max(LEAST, ends - time.monotonic()),
            )
            for each in turns
        ]

    trace = await replay_awaited(answer, text, named.names, ReplaySettings())
    try:
        await asyncio.to_thread(fits, trace.prompt)
    except Refusal as refusal:
        trace = replace(trace, prompt=text, composer="nobody", refused=(*trace.refused, refusal.message))
    return Replayed(trace, max(LEAST, ends - time.monotonic()))


def asks_itself(text: str) -> bool:
    """Whether a question wants to know something that a replay would put into it: "What colour is its hat?"."""
    return any(_ASKS.match(sentence) for sentence in re.split(r"(?<=[.!?:,])\s|\n", text))


async def _said(events: AsyncGenerator[AnswerEvent]) -> str:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Answered):
                return event.text
    raise RuntimeError("an answer ended without its last event")
