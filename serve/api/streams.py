"""Server-sent events: every stream ends with `data: [DONE]` or with an error event, whatever happens in between."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import StreamingResponse

from serve.api.errors import refusal_of

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def begun(source: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """The same events, after the first has come: what is refused before that is still an ordinary error answer."""
    first = await anext(source)
    return _with(first, source)


async def _with(first: T, source: AsyncGenerator[T]) -> AsyncGenerator[T]:
    async with aclosing(source):
        yield first
        async for event in source:
            yield event


def stream(events: AsyncGenerator[dict[str, Any]], request: str, named: bool = False) -> StreamingResponse:
    """Objects as events; with `named` an event is also called by its `type`, as OpenAI's streams of pictures are."""
    return StreamingResponse(_lines(events, request, named), media_type="text/event-stream", headers=HEADERS)


async def _lines(events: AsyncGenerator[dict[str, Any]], request: str, named: bool) -> AsyncIterator[bytes]:
    try:
        async with aclosing(events):
            async for event in events:
                name = f"event: {event['type']}\n".encode() if named else b""
                yield name + b"data: " + json.dumps(event).encode() + b"\n\n"
    # The status line is long gone; whatever went wrong can only be told as an event.
    except Exception as error:
        yield b"event: error\n" if named else b""
        yield b"data: " + json.dumps(refusal_of(error, request).body).encode() + b"\n\n"
    else:
        yield DONE


def described(text: str) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says about a 200 that may be a stream."""
    return {200: {"description": text, "content": {"text/event-stream": {"schema": {"type": "string"}}}}}
