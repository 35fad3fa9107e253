"""What the doors share, and who is asking: handed from request to routes by FastAPI's dependencies."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from serve.client import Client
from serve.folder import Users
from serve.limits import Limits
from serve.naming import ConceptName
from serve.refusal import Refusal
from serve.replaying import replayed
from serve.training import Trainer
from serve.translate import Named
from serve.users.keys import Caller
from serve.users.shelf import Concept
from unictokens.replay.trace import Trace

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class House:
    """Everything behind the doors. `decoding` bounds how many pictures are decoded at a time, and so the memory they take."""

    client: Client
    users: Users
    trainer: Trainer
    limits: Limits
    decoding: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(2))


@dataclass(frozen=True)
class Visit:
    """One request: the house and who is in it."""

    house: House
    caller: Caller
    request: Request

    def find(self, names: Sequence[ConceptName]) -> dict[ConceptName, Concept]:
        """Which of `names` are concepts of the caller."""
        return self.house.users.shelf.find(self.caller.user_id, self.caller.user, names)

    def allow(self, scope: str) -> None:
        """Raises Refusal (403) when the key does not have `scope`."""
        if scope not in self.caller.scopes:
            raise Refusal(403, "missing_scope", f"this key may not do that: it lacks the scope '{scope}'")

    async def take(self, kind: str, cost: float = 1.0) -> None:
        """Use some of the key's quota. Raises Refusal (429)."""
        await run_in_threadpool(self.house.users.quotas.take, self.caller.key_id, kind, cost)

    def note(self, **fields: Any) -> None:
        """Add to the request's line in the audit log: ids and numbers only."""
        self.request.state.note.update(fields)

    async def decode(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run picture work in a thread, a few at a time."""
        return await anyio.to_thread.run_sync(lambda: work(*arguments), limiter=self.house.decoding)

    async def replay(self, text: str, named: Named, fits: Callable[[str], object]) -> tuple[str, float, Trace]:
        """A text with what its concepts know of it put in (see `replayed`), the seconds that are left, and what was asked."""
        house, user = self.house, self.caller.user_id
        made = await self.unless_gone(replayed(text, named, house.client, user, house.limits.deadline, fits))
        self.note(replayed=made.trace.calls)
        return made.trace.prompt, made.seconds, made.trace

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled when the caller hangs up. Raises Refusal (499, read by nobody) then."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Refusal(499, "client_closed_request", "the caller hung up")
            return task.result()
        finally:
            for one in (task, gone):
                one.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def _gone(self) -> None:
        while not await self.request.is_disconnected():
            await asyncio.sleep(0.2)


def visit(request: Request) -> Visit:
    """Who is asking; the door has looked at the key already."""
    return Visit(request.app.state.house, request.state.caller, request)


HereNow = Annotated[Visit, Depends(visit)]
