"""A request is refused at the door or has one end, which it hears: its result, or why there is none, whatever breaks beside it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_stepper import FakeStepper, FakeStore, ask, draw, engine_of, events, run

from serve.engine.asked import Asked
from serve.engine.engine import Engine
from serve.engine.events import Accepted, Answer, Done, Drawn, Event, Failed, Partial, Piece
from serve.engine.settings import EngineSettings
from unictokens.backbones.base import Decoding, Sampling
from unictokens.backbones.steps import Speech
from unictokens.errors import Busy, Cancelled, ConfigError, RequestError, ServeError, TimedOut


def test_a_request_hears_accepted_then_pieces_or_partials_then_one_end(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    traced = replace(draw(), sampling=Sampling(steps=4, guidance=0.0, trace=(2,)))
    asked, drawn = engine.submit(ask(seed=7)), engine.submit(traced)
    run(engine)
    assert events(asked) == [Accepted(0), Piece("7."), Piece("7."), Piece("7."), Done(Answer("7.7.7.", "length", 3, 3))]
    accepted, partial, done = events(drawn)
    assert accepted == Accepted(0) and isinstance(partial, Partial) and partial.step == 2
    assert isinstance(done, Done) and isinstance(done.result, Drawn) and done.result.codes_N.tolist() == [4] * 4


def test_impossible_values_are_refused_at_the_door(stepper: FakeStepper) -> None:
    impossible: list[tuple[Callable[..., Asked], dict[str, Any], str]] = [
        (draw, {"seed": -1}, "seed"),
        (draw, {"steps": 0}, "steps"),
        (draw, {"seconds": float("nan")}, "seconds"),
        (draw, {"picture_CHW": torch.zeros(3, 8, 8)}, "mask"),
        (ask, {"tokens": 0}, "max_tokens"),
        (ask, {"picture_CHW": torch.zeros(3, 9, 9)}, "resize"),
        (ask, {"concepts": ("a",), "names": ("a", "b")}, "names"),
        (draw, {"concepts": tuple("abcdefghij")}, "10 concepts"),
        (draw, {"picture_CHW": torch.zeros(3, 8, 8), "redraw_N": torch.zeros(4, dtype=torch.bool)}, "nothing to draw"),
    ]
    engine = engine_of(stepper)
    for make, values, word in impossible:
        with pytest.raises(RequestError, match=word):
            engine.submit(make(**values))
    for wrong in (Sampling(guidance=float("inf")), Sampling(temperature=-1.0), Sampling(steps=2, trace=(3,))):
        with pytest.raises(RequestError):
            replace(draw(), sampling=wrong)
    for how in (Decoding(temperature=0.0), Decoding(top_k=0)):
        with pytest.raises(RequestError):
            replace(ask(), decoding=how)
    with pytest.raises(ConfigError, match="canvases"):
        EngineSettings(canvases=0)


def test_refused_beyond_its_line_with_a_time_to_come_back(stepper: FakeStepper) -> None:
    engine = engine_of(stepper, waiting=3, waiting_of_user=2)
    for seed in range(2):
        engine.submit(ask("ada", seed))
    with pytest.raises(Busy, match="2 of your requests wait") as refused:
        engine.submit(ask("ada"))
    assert refused.value.retry_after >= 1.0
    engine.submit(ask("bob"))
    with pytest.raises(Busy, match="3 requests wait"):
        engine.submit(ask("eve"))
    engine.submit(draw("ada"))  # the other task has a line of its own
    assert engine.counters.answering.refused == 2
    run(engine)
    engine.submit(ask("ada"))


def test_cancelled_ends_between_steps_waiting_or_not(stepper: FakeStepper) -> None:
    engine = engine_of(stepper, speeches=1)
    under_way, waits = engine.submit(ask(tokens=50)), engine.submit(ask("bob"))
    other = engine.submit(ask("eve", seed=5))
    engine.tick()
    engine.cancel(under_way)
    engine.cancel(waits)
    run(engine)
    for handle in (under_way, waits):
        last = events(handle)[-1]
        assert isinstance(last, Failed) and isinstance(last.error, Cancelled)
    assert isinstance(events(other)[-1], Done)
    assert not stepper.speeches and engine.counters.answering.cancelled == 2
    engine.cancel(other)
    run(engine)


def test_deadlines_are_kept_inside_whatever_was_asked(stepper: FakeStepper) -> None:
    stepper.seconds = 1.0
    engine = engine_of(stepper, longest_seconds=10.0)
    short, long = engine.submit(ask(tokens=100, seconds=3.0)), engine.submit(draw(steps=100, seconds=1e6))
    run(engine)
    for handle, limit in ((short, "3 s"), (long, "10 s")):
        with pytest.raises(TimedOut, match=limit):
            handle.result(0.0)
    assert stepper.clock.now <= 11.0 and not stepper.speeches


@pytest.mark.parametrize("make", [ask, draw])
@pytest.mark.parametrize("seed", [666, 13])
def test_a_request_that_fails_fails_alone(stepper: FakeStepper, make: type, seed: int) -> None:
    engine = engine_of(stepper)
    good, bad = engine.submit(make(seed=1)), engine.submit(make(seed=seed))
    run(engine)
    with pytest.raises(ServeError, match="nonsense" if seed == 666 else "cannot begin"):
        bad.result(0.0)
    assert good.result(0.0) is not None


@pytest.mark.parametrize("make", [ask, draw])
def test_a_broken_pass_ends_its_requests_and_the_next_ones_are_served(stepper: FakeStepper, make: type) -> None:
    engine = engine_of(stepper)
    handles = [engine.submit(make(seed=seed)) for seed in (1, 99)]
    run(engine)
    for handle in handles:
        with pytest.raises(ServeError, match="the pass broke"):
            handle.result(0.0)
    later = engine.submit(make(seed=2))
    run(engine)
    assert later.result(0.0) is not None and engine.counters.broken_ticks == 1


def test_a_listener_that_fails_is_taken_for_gone(stepper: FakeStepper) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, Piece):
            raise ValueError("no")

    engine = engine_of(stepper)
    handle = engine.submit(ask(tokens=50), on_event=listener)
    other = engine.submit(ask("bob", seed=3))
    run(engine)
    assert handle.cancelled and engine.counters.answering.cancelled == 1
    with pytest.raises(ConfigError, match="listener"):
        handle.result(0.0)
    assert isinstance(events(other)[-1], Done)


def test_a_model_that_fails_at_everything_ends_each_request_and_not_the_engine() -> None:
    class Broken(FakeStepper):
        def close_speech(self, speech: Speech) -> None:
            raise ValueError("cannot close")

        def speak(self) -> None:
            raise ValueError("cannot speak")

    engine = Engine(Broken(), FakeStore())
    engine.start()
    for _ in range(2):
        with pytest.raises(ServeError, match="cannot speak"):
            engine.submit(ask()).result(10.0)
    assert engine.alive
    engine.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_ever_should_the_engine_itself_break() -> None:
    broken = threading.Event()

    def clock() -> float:
        if broken.is_set():
            raise ValueError("no time")
        return 0.0

    engine = Engine(FakeStepper(), FakeStore(), EngineSettings(speeches=1), clock)
    handles = [engine.submit(ask(seed=seed)) for seed in range(3)]
    broken.set()
    engine.start()
    for handle in handles:
        with pytest.raises(Cancelled):
            handle.result(10.0)
    engine.close()
    assert not engine.alive and not engine.accepting


def test_drained_finishes_what_there_is_and_takes_nothing_new(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    handle = engine.submit(draw(steps=20))
    assert engine.drain() and isinstance(handle.result(0.0), Drawn)
    with pytest.raises(Busy, match="stopping"):
        engine.submit(draw())


def test_closed_ends_everything(stepper: FakeStepper) -> None:
    engine = engine_of(stepper, canvases=1)
    handles = [engine.submit(draw(seed=seed)) for seed in range(3)]
    engine.tick()
    engine.close()
    for handle in handles:
        with pytest.raises(Cancelled):
            handle.result(0.0)
