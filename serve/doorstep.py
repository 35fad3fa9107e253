"""At most so many requests inside one door: those beyond are told at once to come back, in the words that clients know."""

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.errors import response
from serve.refusal import Refusal

COME_BACK = 2.0
"""Seconds after which somebody may be gone."""


class Doorstep:
    """Wraps an application. Ray would refuse too, but with a line of text that no client of this API can read."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._inside >= self._most:
            told = f"the server is busy: try again in {COME_BACK:.0f} s"
            for message in response(Refusal(429, "server_busy", told, retry_after=COME_BACK)):
                await send(message)
            return
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
