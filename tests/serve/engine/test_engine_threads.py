"""Answers and drawings have a thread each: neither waits for the other, they divide the processors, and many may ask at once."""

import threading
from collections.abc import Iterator, Sequence

import pytest
import torch
from fake_stepper import FakeStepper, FakeStore, ask, draw
from torch import Tensor

from serve.engine.cores import Cores
from serve.engine.engine import Engine
from serve.engine.events import Answer, Done, Drawn
from serve.engine.settings import EngineSettings
from unictokens.backbones.steps import Canvas


@pytest.fixture(autouse=True)
def threads_afterwards() -> Iterator[None]:
    """As many as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


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
    torch.set_num_threads(6)
    cores, seen = Cores(torch.device("cpu")), []
    for working in (1, 2, 0, 9):
        cores.share(working)
        seen.append(torch.get_num_threads())
    with cores.whole():
        seen.append(torch.get_num_threads())
    Cores(torch.device("cuda")).share(2)
    assert [*seen, torch.get_num_threads()] == [6, 3, 6, 1, 6, 1]


def test_pictures_are_read_and_painted_with_all_threads_whatever_else_is_going_on() -> None:
    """Convolutions add up in another order with fewer, so that the bytes would tell of the company."""

    class Watched(FakeStepper):
        def codes(self, picture_CHW: Tensor) -> Tensor:
            seen.add(torch.get_num_threads())
            return super().codes(picture_CHW)

        def draw(self, canvases: Sequence[Canvas]) -> None:
            goes_on.wait(30.0)
            passes.add(torch.get_num_threads())
            super().draw(canvases)

        def pictures(self, codes_BN: Tensor) -> Tensor:
            seen.add(torch.get_num_threads())
            return super().pictures(codes_BN)

        def speak(self) -> None:
            goes_on.set()
            assert drawn.wait(30.0)
            super().speak()

    seen, passes = set[int](), set[int]()
    goes_on, drawn = threading.Event(), threading.Event()
    torch.set_num_threads(4)
    engine = Engine(Watched(), FakeStore())
    asked = engine.submit(ask(picture_CHW=torch.rand(3, 8, 8)))
    picture = engine.submit(draw(), on_event=lambda event: drawn.set() if isinstance(event, Done) else None)
    engine.start()
    assert isinstance(asked.result(30.0), Answer) and drawn.is_set() and not picture.cancelled
    engine.close()
    assert seen == {4} and passes == {2}


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
