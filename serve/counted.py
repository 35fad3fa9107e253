"""Requests by route and status, counted around the door; labels are names of routes, never addresses or people."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.engine.counters import Histogram

NO_ROUTE = "none"
"""Addresses without a route, and requests that the door refused."""
BROKEN_OFF = 499
"""Counted for a caller who left before an answer began."""


@dataclass
class HttpCounters:
    """Answers by (route, status), seconds to the end of an answer by route, and requests inside now."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: defaultdict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    open: int = 0


class Counted:
    """Wraps an application."""

    def __init__(self, app: ASGIApp, counters: HttpCounters) -> None:
        self._app = app
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counters, begun, status = self._counters, time.monotonic(), BROKEN_OFF

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        counters.open += 1
        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "operation_id", None) or NO_ROUTE
            counters.open -= 1
            counters.answers[route, status] += 1
            counters.seconds[route].add(time.monotonic() - begun)
