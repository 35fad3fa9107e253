"""A full door answers at once, in the API's words."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import Receive, Scope, Send

from serve.doorstep import Doorstep

Message = MutableMapping[str, Any]


def test_who_comes_to_a_full_door_is_told_to_come_back_and_later_let_in() -> None:
    leave = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await leave.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(door: Doorstep) -> list[Message]:
        told: list[Message] = []

        async def send(message: Message) -> None:
            told.append(message)

        async def receive() -> Message:
            raise AssertionError("nobody reads the body of a request that is sent away")

        await door({"type": "http"}, receive, send)
        return told

    async def story() -> None:
        door = Doorstep(app, most=2)
        inside = [asyncio.ensure_future(ask(door)) for _ in range(2)]
        await asyncio.sleep(0)
        start, body = await ask(door)
        assert start["status"] == 429 and dict(start["headers"])[b"retry-after"] == b"2"
        assert b"rate_limit_error" in body["body"]
        leave.set()
        for told in [*await asyncio.gather(*inside), await ask(door)]:
            assert [message["status"] for message in told] == [200]

    asyncio.run(story())
