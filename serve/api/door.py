"""Before anything is read: who is it, how much may come in, how many at a time; and a line in the log afterwards.

Plain ASGI around the app, because a framework reads the body before it asks who sent it.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.errors import refusal_of, response
from serve.api.state import House
from serve.refusal import Refusal
from serve.users.keys import Caller
from unictokens.errors import StorageError

log = logging.getLogger(__name__)

STRIPPED = (b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"x-session-id", b"forwarded")
"""Headers that would steer the serving framework or claim to be somebody else; also anything with `multiplexed` in it."""
GUARDED = "/v1/"


class Door:
    """Wraps the app; everything below /v1/ needs a key."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._house = house
        self._inside: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["headers"] = [(name, value) for name, value in scope["headers"] if not _strips(name)]
        passage = _Passage(self._house, scope, receive, send)
        try:
            if not scope["path"].startswith(GUARDED):
                await self._app(scope, passage.receive, passage.send)
                return
            caller = await self._authenticate(scope)
            scope["state"]["caller"] = passage.caller = caller
            await run_in_threadpool(self._house.users.quotas.take, caller.key_id, "requests")
            await passage.expect()
            if self._inside[caller.user_id] >= self._house.limits.concurrent:
                raise Refusal(429, "too_many_requests", "too many requests of yours are running: wait", retry_after=1)
            self._inside[caller.user_id] += 1
            try:
                await self._app(scope, passage.receive, passage.send)
            finally:
                self._inside[caller.user_id] -= 1
                if not self._inside[caller.user_id]:
                    del self._inside[caller.user_id]
        # The framework raises what it has answered once more; anything else becomes an answer that says nothing about it.
        except Exception as error:
            if not passage.answered:
                await passage.refuse(refusal_of(error, passage.name))
        finally:
            await passage.log()

    async def _authenticate(self, scope: Scope) -> Caller:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            raise Refusal(401, "missing_api_key", "no API key: send the header Authorization: Bearer KEY")
        kind, _, key = given[0].decode("latin-1").partition(" ")
        caller = None
        if len(given) == 1 and kind.lower() == "bearer":
            caller = await run_in_threadpool(self._house.users.keys.authenticate, key.strip())
        if caller is None:
            raise Refusal(401, "invalid_api_key", "this API key is not valid: it is unknown, expired or revoked")
        return caller


class _Passage:
    """One request on its way through: counts what comes in, remembers how it went out."""

    def __init__(self, house: House, scope: Scope, receive: Receive, send: Send) -> None:
        self.caller: Caller | None = None
        self.name = f"req_{secrets.token_hex(12)}"
        self._house = house
        self._scope = scope
        self._receive = receive
        self._send = send
        self._begun = time.monotonic()
        self._status: int | None = None
        self._bytes = 0
        self._counted = 0
        self._complete = False
        self._refused: Refusal | None = None
        scope.setdefault("state", {})
        scope["state"]["note"] = {}
        scope["state"]["request_name"] = self.name

    @property
    def answered(self) -> bool:
        """Whether an answer has begun."""
        return self._status is not None

    @property
    def _most(self) -> int:
        limits = self._house.limits
        return limits.upload if self._scope["path"].startswith("/v1/concepts") else limits.body

    async def expect(self) -> None:
        """Refuse by what the headers say, before anything is read. Raises Refusal (400, 413, 429)."""
        length = next((value for name, value in self._scope["headers"] if name == b"content-length"), None)
        if length is None:
            return
        if not length.isdigit() or len(length) > 18:
            raise Refusal(400, "invalid_header", "content-length is no number")
        if int(length) > self._most:
            raise self._too_large()
        await self._charge(int(length))

    async def receive(self) -> Message:
        """The next piece of the body, within its bounds of size and time."""
        if self._complete:
            return await self._receive()
        left = self._begun + self._house.limits.body_seconds - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left)):
                message = await self._receive()
        except TimeoutError as error:
            self._refused = Refusal(408, "body_timeout", "the request's body did not arrive in time")
            raise self._refused from error
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            try:
                if self._bytes > self._most:
                    raise self._too_large()
                await self._charge(self._bytes)
            except Refusal as refusal:
                self._refused = refusal
                raise
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the app answers, unless its body was refused while it read."""
        if message["type"] == "http.response.start":
            if self._refused is not None:
                return
            self._status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.name.encode())]
        elif self._refused is not None and self._status is None:
            return
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error, if nothing was answered yet."""
        if self._status is not None:
            return
        self._refused = None
        start, body = response(refusal)
        await self.send(start)
        await self.send(body)

    async def log(self) -> None:
        """A refusal that the app swallowed is answered now; then the request's line in the audit log."""
        if self._refused is not None and self._status is None:
            await self.refuse(self._refused)
        route = self._scope.get("route")
        caller = self.caller
        fields = {
            "request": self.name,
            "user": caller.user_id if caller else None,
            "key": caller.key_id if caller else None,
            "method": self._scope["method"],
            "action": getattr(route, "operation_id", None),
            "status": self._status,
            "ms": round(1000 * (time.monotonic() - self._begun)),
            "bytes": self._bytes,
            **self._scope["state"]["note"],
        }
        if caller is None and route is not None:
            return  # health checks and the document of the API
        try:
            await run_in_threadpool(self._house.users.audit.write, **fields)
        except StorageError as error:
            log.error("the audit log cannot be written: %s", error)

    async def _charge(self, total: int) -> None:
        more, self._counted = total - self._counted, max(total, self._counted)
        if self.caller is not None and more > 0:
            await run_in_threadpool(self._house.users.quotas.take, self.caller.key_id, "bytes", more)

    def _too_large(self) -> Refusal:
        return Refusal(413, "body_too_large", f"the request's body is larger than {self._most} bytes: send less")


def _strips(name: bytes) -> bool:
    plain = name.lower().replace(b"_", b"-")
    return plain in STRIPPED or b"multiplexed" in plain or plain.startswith(b"x-forwarded-")
