"""What becomes of a request whose replica dies, is full, fails or says nothing; replicas are played by a handle without Ray."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("ray.serve", reason="Ray Serve is not installed")

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from serve import replica_client
from serve.client import Accepted, Answered, Ask, Draw, Drawn, ModelInfo, Said
from serve.refusal import Refusal
from serve.replica_client import Lost, ReplicaClient
from unictokens.backbones.base import Decoding, Sampling, Turn
from unictokens.errors import Busy, RequestError, TimedOut

SAID = Answered("A dog.", "stop", 2)
DRAWN = Drawn(picture=None)  # type: ignore[arg-type]
INFO = ModelInfo(name="fake", image_size=32, fingerprint="f" * 64)
HANGS = object()


class Stream:
    """One call's events: an exception is raised, `HANGS` never comes."""

    def __init__(self, script: list[Any]) -> None:
        self.script = list(script)
        self.cancelled = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if not self.script:
            raise StopAsyncIteration
        event = self.script.pop(0)
        if event is HANGS:
            await asyncio.sleep(3600)
        if isinstance(event, Exception):
            raise event
        return event

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Replies:
    """The result of a short call."""

    reply: Any

    def result(self, timeout_s: float) -> Any:
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@dataclass
class Replicas:
    """A handle whose every call plays the next script."""

    scripts: list[Any]
    calls: list[tuple[str, Any]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)

    def options(self, stream: bool) -> "Replicas":
        return self

    def __getattr__(self, method: str) -> Any:
        @dataclass
        class Method:
            remote: Callable[..., Any]

        def call(*arguments: Any) -> Any:
            self.calls.append((method, arguments[0]))
            script = self.scripts.pop(0)
            if not isinstance(script, list):
                return Replies(script)
            self.streams.append(Stream(script))
            return self.streams[-1]

        return Method(call)


def ask(seconds: float = 5.0) -> Ask:
    how = Decoding(max_tokens=4)
    return Ask(
        user="ada",
        turns=(Turn(("Who?",)),),
        concepts=(),
        names=(),
        picture=None,
        decoding=how,
        seed=3,
        seconds=seconds,
    )


def run(replicas: Replicas, request: Ask | Draw) -> list[Any]:
    client = ReplicaClient(replicas, INFO)  # type: ignore[arg-type]

    async def listen() -> list[Any]:
        events = client.answer(request) if isinstance(request, Ask) else client.draw(request)
        return [event async for event in events]

    return asyncio.run(listen())


@pytest.mark.parametrize("before", [[], [Accepted()]], ids=["before acceptance", "before anything was shown"])
def test_a_request_whose_replica_dies_is_done_by_another_with_the_same_seed(before: list[Any]) -> None:
    replicas = Replicas([[*before, RayActorError()], [Accepted(), Said("A "), Said("dog."), SAID]])
    assert run(replicas, ask()) == [Accepted(), Said("A "), Said("dog."), SAID]
    first, second = (request for _, request in replicas.calls)
    assert first.seed == second.seed == 3 and second.seconds <= first.seconds


def test_a_drawing_without_sketches_is_drawn_again() -> None:
    draw = Draw(user="ada", prompt=("A dog.",), concepts=(), sampling=Sampling(), seed=1, seconds=5.0)
    events = run(Replicas([[Accepted(), RayActorError()], [Accepted(), DRAWN]]), draw)
    assert [type(event) for event in events] == [Accepted, Drawn]


def test_an_answer_that_has_begun_ends_with_an_error() -> None:
    replicas = Replicas([[Accepted(), Said("A "), RayActorError()], [Accepted(), SAID]])
    with pytest.raises(Refusal) as refused:
        run(replicas, ask())
    assert (refused.value.status, refused.value.code) == (503, "replica_lost") and len(replicas.calls) == 1


def test_a_request_is_tried_twice_at_most() -> None:
    replicas = Replicas([[RayActorError()], [Accepted(), RayActorError()], [Accepted(), SAID]])
    with pytest.raises(Refusal, match="has ended"):
        run(replicas, ask())
    assert len(replicas.calls) == 2


def test_a_full_queue_is_busy_and_not_tried_again() -> None:
    with pytest.raises(Busy) as busy:
        run(Replicas([[BackPressureError(5, 5)], [SAID]]), ask())
    assert busy.value.retry_after == 2.0


def test_the_engines_errors_arrive_unchanged() -> None:
    with pytest.raises(Busy, match="7 requests wait") as busy:
        run(Replicas([[Lost(Busy("7 requests wait", 4.0))]]), ask())
    assert busy.value.retry_after == 4.0


def test_a_replica_that_says_nothing_is_not_waited_for_longer_than_the_request_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica_client, "SLACK", 0.1)
    replicas = Replicas([[Accepted(), HANGS]])
    with pytest.raises(TimedOut):
        run(replicas, ask(seconds=0.2))
    assert replicas.streams[0].cancelled


def test_breaking_off_cancels_the_call() -> None:
    replicas = Replicas([[Accepted(), Said("A "), HANGS]])
    client = ReplicaClient(replicas, INFO)  # type: ignore[arg-type]

    async def leave() -> None:
        events = client.answer(ask())
        async for event in events:
            if isinstance(event, Said):
                break
        await events.aclose()

    asyncio.run(leave())
    assert replicas.streams[0].cancelled


def test_short_questions_are_asked_once_more_and_errors_are_ours() -> None:
    client = ReplicaClient(Replicas([RayActorError(), 12, TimeoutError(), BackPressureError(1, 1)]), INFO)  # type: ignore[arg-type]
    assert client.drawing_tokens(("A dog.",)) == 12
    with pytest.raises(TimedOut):
        client.drawing_tokens(("A dog.",))
    with pytest.raises(Busy):
        client.question_tokens((Turn(("Who?",)),), 4)


def test_an_error_that_a_replica_raised_is_unwrapped() -> None:
    from ray.exceptions import RayTaskError

    error = RayTaskError("drawing_tokens", "", RequestError("the prompt takes 900 tokens"))
    client = ReplicaClient(Replicas([error]), INFO)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="900 tokens"):
        client.drawing_tokens(("A dog.",))
