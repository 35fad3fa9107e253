"""Who has a turn, and when, with a model that only counts: a pass takes whoever has come, and no task, user or long work keeps
others waiting."""

from fake_stepper import FakeStepper, ask, draw, engine_of, run

from serve.engine.events import Event, Handle, Piece
from unictokens.errors import TimedOut


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
