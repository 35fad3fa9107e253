"""Pictures that come with requests: encoded once, and forgotten with the concepts they were asked about with."""

import torch
from fake_stepper import FakeStepper, ask, draw, engine_of, events, run

from serve.engine.events import Done


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
