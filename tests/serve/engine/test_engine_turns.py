"""What the engine promises about turns, ends and room, with a model that only counts."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from fake_stepper import FakeClock, FakeStepper, FakeStore, ask, draw

from serve.engine.asked import Draw
from serve.engine.cores import Cores
from serve.engine.engine import Engine
from serve.engine.events import Accepted, Answer, Done, Drawn, Event, Failed, Handle, Partial, Piece
from serve.engine.settings import EngineSettings
from unictokens.backbones.base import Decoding, Sampling
from unictokens.backbones.steps import Canvas, Speech
from unictokens.errors import Busy, Cancelled, ConfigError, RequestError, ServeError, TimedOut


@pytest.fixture
def stepper() -> FakeStepper:
    return FakeStepper(FakeClock())


def engine_of(stepper: FakeStepper, **settings: float) -> Engine:
    return Engine(stepper, FakeStore(), EngineSettings(**settings), stepper.clock)  # type: ignore[arg-type]


def run(engine: Engine) -> None:
    while engine.tick():
        pass


def events(handle: Handle) -> list[Event]:
    return list(handle.events(0.0))


def test_a_request_hears_accepted_then_pieces_or_partials_then_one_end(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    asked, drawn = engine.submit(ask(seed=7)), engine.submit(replace_trace(draw(steps=4), (2,)))
    run(engine)
    assert events(asked) == [Accepted(0), Piece("7."), Piece("7."), Piece("7."), Done(Answer("7.7.7.", "length", 3, 3))]
    accepted, partial, done = events(drawn)
    assert accepted == Accepted(0) and isinstance(partial, Partial) and partial.step == 2
    assert isinstance(done, Done) and isinstance(done.result, Drawn) and done.result.codes_N.tolist() == [4] * 4


def replace_trace(asked: Draw, trace: tuple[int, ...]) -> Draw:
    return replace(asked, sampling=replace(asked.sampling, trace=trace))


def test_new_requests_join_the_next_pass_whatever_step_others_are_at(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    engine.submit(draw(seed=1, steps=4))
    engine.tick()
    engine.submit(draw(seed=2, steps=2))
    run(engine)
    assert stepper.passes == [("draw", seeds) for seeds in ([1], [1, 2], [1, 2], [1])]
    assert engine.counters.drawing.width.mean == 6 / 4


def test_each_task_has_a_turn_in_every_tick(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    engine.submit(draw(steps=10))
    for _ in range(4):
        engine.tick()
    engine.submit(ask(tokens=5))
    run(engine)
    kinds = [kind for kind, _ in stepper.passes]
    assert kinds == ["draw"] * 4 + ["speak", "draw"] * 4 + ["draw"] * 2


def test_an_answer_begins_at_the_next_tick_beside_endless_drawings(stepper: FakeStepper) -> None:
    stepper.seconds = 0.1
    engine = engine_of(stepper, canvases=2)
    for _ in range(5):
        engine.submit(draw(steps=50))
    for _ in range(30):
        engine.tick()
    handle = engine.submit(ask())
    engine.tick()
    assert Piece("0.") in events_so_far(handle)


def test_neither_task_waits_for_a_pass_of_the_other() -> None:
    class Stuck(FakeStepper):
        def draw(self, canvases: Sequence[Canvas]) -> None:
            begun.set()
            assert goes_on.wait(30.0)
            super().draw(canvases)

    begun, goes_on = threading.Event(), threading.Event()
    engine = Engine(Stuck(), FakeStore())
    engine.start()
    drawn = engine.submit(draw(picture_CHW=torch.rand(3, 8, 8), redraw_N=torch.ones(4, dtype=torch.bool)))
    assert begun.wait(30.0)
    assert isinstance(engine.submit(ask(picture_CHW=torch.rand(3, 8, 8))).result(30.0), Answer)
    engine.forget(lambda reference: True)
    goes_on.set()
    assert isinstance(drawn.result(30.0), Drawn)
    engine.close()


def test_lanes_that_work_at_once_divide_the_threads() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(6)
        cores, seen = Cores(torch.device("cpu")), []
        for working in (1, 2, 0, 9):
            cores.share(working)
            seen.append(torch.get_num_threads())
        with cores.whole():
            seen.append(torch.get_num_threads())
        Cores(torch.device("cuda")).share(2)
        assert [*seen, torch.get_num_threads()] == [6, 3, 6, 1, 6, 1]
    finally:
        torch.set_num_threads(threads)


def test_pictures_are_read_and_painted_with_all_threads_whatever_else_is_going_on() -> None:
    """Convolutions add up in another order with fewer, so that the bytes would tell of the company."""

    class Watched(FakeStepper):
        def codes(self, picture_CHW: torch.Tensor) -> torch.Tensor:
            seen.add(torch.get_num_threads())
            return super().codes(picture_CHW)

        def draw(self, canvases: Sequence[Canvas]) -> None:
            goes_on.wait(30.0)
            passes.add(torch.get_num_threads())
            super().draw(canvases)

        def pictures(self, codes_BN: torch.Tensor) -> torch.Tensor:
            seen.add(torch.get_num_threads())
            return super().pictures(codes_BN)

        def speak(self) -> None:
            goes_on.set()
            assert drawn.wait(30.0)
            super().speak()

    threads, seen, passes = torch.get_num_threads(), set[int](), set[int]()
    goes_on, drawn = threading.Event(), threading.Event()
    try:
        torch.set_num_threads(4)
        engine = Engine(Watched(), FakeStore())
        asked = engine.submit(ask(picture_CHW=torch.rand(3, 8, 8)))
        picture = engine.submit(draw(), on_event=lambda event: drawn.set() if isinstance(event, Done) else None)
        engine.start()
        assert isinstance(asked.result(30.0), Answer) and drawn.is_set() and not picture.cancelled
        engine.close()
        assert seen == {4} and passes == {2}
    finally:
        torch.set_num_threads(threads)


def events_so_far(handle: Handle) -> list[Event]:
    heard: list[Event] = []
    try:
        for event in handle.events(0.0):
            heard.append(event)
    except TimedOut:
        pass
    return heard


def test_a_flood_of_one_user_does_not_keep_another_waiting(stepper: FakeStepper) -> None:
    engine = engine_of(stepper, canvases=1, waiting_of_user=50)
    for seed in range(40):
        engine.submit(draw("flood", seed))
    for _ in range(2):
        engine.tick()
    engine.submit(draw("ada", 1000))
    engine.submit(draw("ada", 1001))
    run(engine)
    order = list(dict.fromkeys(seeds[0] for _, seeds in stepper.passes))
    assert order.index(1000) <= 2 and order.index(1001) <= 4


def test_shares_are_of_work_not_of_requests(stepper: FakeStepper) -> None:
    engine = engine_of(stepper, canvases=1)
    for seed in range(4):
        engine.submit(draw("long", 100 + seed, steps=9))
        engine.submit(draw("short", 200 + seed, steps=3))
    run(engine)
    order = list(dict.fromkeys(seeds[0] for _, seeds in stepper.passes))
    assert order[:5] == [100, 200, 201, 202, 101] or order[:5] == [200, 100, 201, 202, 203]


def test_a_wide_pass_is_narrowed_to_the_time_a_tick_may_take(stepper: FakeStepper) -> None:
    engine = engine_of(stepper, canvases=8, tick_seconds=0.25)
    stepper.seconds = 0.1  # of the first pass, of one drawing
    engine.submit(draw(seed=0, steps=9))
    engine.tick()
    for seed in range(1, 8):
        engine.submit(draw(seed=seed, steps=9))
    engine.tick()
    assert stepper.passes[-1] == ("draw", [0, 1])


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


def test_the_same_picture_is_encoded_once(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    picture = torch.rand(3, 8, 8)
    for _ in range(3):
        engine.submit(ask(picture_CHW=picture.clone()))
    mask = torch.tensor([True, False, False, True])
    engine.submit(draw(picture_CHW=picture, redraw_N=mask))
    run(engine)
    assert stepper.encoded == 1 and (engine.counters.photo_hits, engine.counters.photo_misses) == (3, 1)


def test_pictures_are_forgotten_with_the_concepts_they_were_asked_about_with(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    mine, others, both = torch.rand(3, 3, 8, 8)
    mask = torch.tensor([True, False, False, True])
    engine.submit(ask(concepts=("bo",), picture_CHW=mine))
    engine.submit(ask(concepts=("miru",), picture_CHW=others))
    engine.submit(ask(picture_CHW=others))
    engine.submit(draw(concepts=("miru", "bo"), picture_CHW=both, redraw_N=mask))
    run(engine)
    assert stepper.encoded == 3
    engine.forget(lambda reference: reference == "bo")
    run(engine)
    assert stepper.forgotten == 2
    for picture in (mine, others, both):
        engine.submit(ask(picture_CHW=picture))
    run(engine)
    assert stepper.encoded == 5


def test_a_picture_of_a_request_that_outlives_its_concept_is_not_kept(stepper: FakeStepper) -> None:
    engine, picture = engine_of(stepper), torch.rand(3, 8, 8)
    waits = engine.submit(ask(concepts=("bo",), picture_CHW=picture))
    engine.forget(lambda reference: reference == "bo")
    run(engine)
    assert isinstance(events(waits)[-1], Done) and stepper.forgotten == 1
    engine.submit(ask(picture_CHW=picture))
    run(engine)
    assert stepper.encoded == 2


def test_an_engine_without_work_forgets_at_once(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    engine.start()
    engine.submit(ask(concepts=("bo",), picture_CHW=torch.rand(3, 8, 8))).result(10.0)
    engine.forget(lambda reference: reference == "bo")
    assert stepper.forgotten == 1
    engine.close()


def test_impossible_values_are_refused_at_the_door(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    for make, values, word in (
        (draw, {"seed": -1}, "seed"),
        (draw, {"steps": 0}, "steps"),
        (draw, {"seconds": float("nan")}, "seconds"),
        (draw, {"picture_CHW": torch.zeros(3, 8, 8)}, "mask"),
        (ask, {"tokens": 0}, "max_tokens"),
        (ask, {"picture_CHW": torch.zeros(3, 9, 9)}, "resize"),
        (ask, {"concepts": ("a",), "names": ("a", "b")}, "names"),
        (draw, {"concepts": tuple("abcdefghij")}, "10 concepts"),
        (draw, {"picture_CHW": torch.zeros(3, 8, 8), "redraw_N": torch.zeros(4, dtype=torch.bool)}, "nothing to draw"),
    ):
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


def test_a_thread_serves_many_that_ask_at_once() -> None:
    engine = Engine(FakeStepper(), FakeStore(), EngineSettings(waiting=500, waiting_of_user=500))
    engine.start()
    results: dict[int, object] = {}

    def user(number: int) -> None:
        for seed in range(1000 + number * 20, 1020 + number * 20):
            make = ask if seed % 2 else draw
            results[seed] = engine.submit(make(str(number), seed)).result(30.0)

    threads = [threading.Thread(target=user, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert len(results) == 160
    assert all(isinstance(result, Answer) == bool(seed % 2) for seed, result in results.items())
    assert engine.alive and engine.drain(5.0)
    engine.close()
    assert not engine.alive
    flat = engine.counters.flat()
    assert flat["drawing.done"] == flat["answering.done"] == 80 and flat["answering.first.count"] == 80


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


def test_memory_is_flat_over_many_users(stepper: FakeStepper) -> None:
    engine = engine_of(stepper)
    for number in range(3000):
        handle = engine.submit(ask(f"user {number}", tokens=1))
        engine.submit(draw(f"user {number}", steps=1))
        if number:  # so that somebody always waits to draw
            engine.tick()
            engine.tick()
        assert handle.cancelled is False
    assert len(engine._answering.line._had) <= 1 and len(engine._drawing.line._had) <= 1100
    assert len(engine._drawing.line) < 10 and not stepper.speeches
