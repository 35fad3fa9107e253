"""POST /v1/chat/completions: a conversation, about one picture or none, that may name several concepts."""

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from serve.api.state import HereNow, Visit
from serve.api.streams import begun, described, stream
from serve.client import Answered, AnswerEvent, Ask, Said
from serve.pictures import read_data_uri, read_picture
from serve.protocol import SEEDS, ChatBody, ChatCompletion, Choice, Reply, Usage
from serve.replaying import asks_itself
from serve.translate import chat_turns, count_tokens, picture_of, resolve, texts_of, with_last
from unictokens.backbones.base import Decoding
from unictokens.images import View, view_image
from unictokens.replay.trace import Trace

router = APIRouter(tags=["chat"])

DEFAULT_TOKENS = 100


@router.post(
    "/chat/completions",
    operation_id="create_chat_completion",
    response_model=ChatCompletion,
    response_model_exclude_none=True,
    responses=described("The answer, or with `stream` its pieces as server-sent events that end with [DONE]."),
)
async def complete(body: ChatBody, here: HereNow) -> Any:
    """Answer a conversation."""
    here.allow("chat")
    ask, read, trace = await _understand(body, here)
    name, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
    if body.stream:
        events = await here.unless_gone(begun(here.house.client.answer(ask)))
        return _streamed(events, body, here, name, created, read, trace)
    answered = await here.unless_gone(_whole(here.house.client.answer(ask)))
    here.note(tokens_in=read, tokens_out=answered.tokens)
    return ChatCompletion(
        id=name,
        created=created,
        model=body.model,
        choices=[Choice(message=Reply(content=answered.text), finish_reason=answered.ended)],
        usage=_usage(read, answered),
        replay=trace,
    )


async def _understand(body: ChatBody, here: Visit) -> tuple[Ask, int, Trace | None]:
    """The request as work, the tokens of its prompt, and what was replayed for it. Raises Refusal."""
    house, info = here.house, here.house.client.info
    uri = picture_of(body.messages)
    texts = texts_of(body.messages)
    named = await run_in_threadpool(resolve, texts, body.model, info.name, here.find, house.limits)
    here.note(concepts=[reference.key for reference in named.references])
    turns = chat_turns(body.messages, named)
    longest = min(body.max_completion_tokens or body.max_tokens or DEFAULT_TOKENS, house.limits.answer_tokens)

    def fits(text: str) -> int:
        said = chat_turns(with_last(body.messages, text), named)
        return count_tokens(house.client.question_tokens, said, longest, param="messages")

    read = await run_in_threadpool(count_tokens, house.client.question_tokens, turns, longest, param="messages")
    picture = None
    if uri is not None:
        param, size = "messages.image_url", info.image_size
        whole = await here.decode(read_picture, read_data_uri(uri, house.limits, param), house.limits, param)
        picture = await here.decode(view_image, whole, View(size, size))
    seconds, trace = house.limits.deadline, None
    if body.replay and not asks_itself(texts[-1]):
        text, seconds, trace = await here.replay(texts[-1], named, fits)
        turns = chat_turns(with_last(body.messages, text), named)
        read = await run_in_threadpool(fits, text)
    warm = body.temperature or 0.0
    decoding = Decoding(max_tokens=longest, top_k=body.top_k if warm else 1, temperature=warm or 1.0)
    ask = Ask(
        user=here.caller.user_id,
        turns=turns,
        concepts=named.references,
        names=named.names,
        picture=picture,
        decoding=decoding,
        seed=secrets.randbelow(SEEDS) if body.seed is None else body.seed,
        seconds=seconds,
    )
    return ask, read, trace


async def _whole(events: AsyncGenerator[AnswerEvent]) -> Answered:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Answered):
                return event
    raise RuntimeError("an answer ended without its last event")


def _streamed(
    events: AsyncGenerator[AnswerEvent],
    body: ChatBody,
    here: Visit,
    name: str,
    created: int,
    read: int,
    trace: Trace | None,
) -> Response:
    usage = body.stream_options is not None and body.stream_options.include_usage

    def chunk(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        about = {"id": name, "object": "chat.completion.chunk", "created": created, "model": body.model}
        return {**about, "choices": choices, **more}

    def piece(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return chunk([{"index": 0, "delta": delta, "finish_reason": finish}])

    async def chunks() -> AsyncGenerator[dict[str, Any]]:
        async with aclosing(events):
            begin = piece({"role": "assistant", "content": ""})
            yield begin if trace is None else {**begin, "replay": trace.to_json()}
            async for event in events:
                if isinstance(event, Said):
                    yield piece({"content": event.text})
                if isinstance(event, Answered):
                    here.note(tokens_in=read, tokens_out=event.tokens)
                    yield piece({}, event.ended)
                    if usage:
                        yield chunk([], usage=_usage(read, event).model_dump())
                    return
        raise RuntimeError("an answer ended without its last event")

    return stream(chunks(), here.request.state.request_name)


def _usage(read: int, answered: Answered) -> Usage:
    return Usage(prompt_tokens=read, completion_tokens=answered.tokens, total_tokens=read + answered.tokens)
