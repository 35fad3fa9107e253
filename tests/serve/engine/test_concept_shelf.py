"""Concepts beside the model: loaded once, kept while used, least recently used out; a bad one hurts only who names it."""

import threading
import time
from dataclasses import replace

import pytest
import torch
from fake_stepper import INFO, FakeStepper, FakeStore, ask, draw, run

from serve.engine.counters import ShelfCounters
from serve.engine.engine import Engine
from serve.engine.settings import EngineSettings
from serve.engine.shelf import ConceptShelf
from unictokens.backbones.base import Turn
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.prompt import Rows
from unictokens.errors import ConceptError, RequestError, StorageError

BYTES = 5 * 4 * 4 * 2 + 5 * 4
"""Of one fake concept."""


def shelf_of(store: FakeStore, concepts: float) -> ConceptShelf:
    return ConceptShelf(store, INFO, torch.device("cpu"), int(concepts * BYTES), ShelfCounters())


def test_least_recently_used_leaves_first_and_bytes_stay_below_the_limit() -> None:
    store = FakeStore()
    shelf = shelf_of(store, 2)
    for name in ("a", "b", "a", "c", "a", "b"):
        shelf.release(shelf.take(name))
        assert shelf._counters.held_bytes <= 2 * BYTES
    assert store.loaded == ["a", "b", "c", "b"]
    assert (shelf._counters.hits, shelf._counters.evictions) == (2, 2)


def test_used_and_pinned_ones_stay() -> None:
    store = FakeStore()
    shelf = shelf_of(store, 1)
    used = shelf.take("used")
    shelf.pin("pinned")
    for name in ("a", "b"):
        shelf.release(shelf.take(name))
    shelf.release(shelf.take("used"))
    shelf.release(shelf.take("pinned"))
    assert store.loaded == ["used", "pinned", "a", "b"]
    shelf.release(used)
    shelf.unpin("pinned")
    assert shelf._counters.held_bytes <= BYTES


def test_a_forgotten_concept_is_loaded_anew_and_old_users_keep_their_rows() -> None:
    store = FakeStore()
    shelf = shelf_of(store, 5)
    old = shelf.take(("bo", 1))
    shelf.forget(lambda reference: reference == ("bo", 1))
    new = shelf.take(("bo", 1))
    assert new is not old and len(store.loaded) == 2
    shelf.release(old)
    shelf.release(new)
    assert shelf._counters.held_bytes == BYTES and len(shelf) == 1


def test_many_that_ask_at_once_load_once() -> None:
    store = FakeStore()

    def slow(reference: object) -> ConceptBundle:
        time.sleep(0.05)
        return store(reference)

    shelf = ConceptShelf(slow, INFO, torch.device("cpu"), 10 * BYTES, ShelfCounters())
    threads = [threading.Thread(target=lambda: shelf.release(shelf.take("bo"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.loaded == ["bo"] and not shelf._loading


@pytest.mark.parametrize(
    ("name", "error", "word"),
    [("torn", StorageError, "damaged"), ("gone", ConceptError, "no concept"), ("foreign", ConceptError, "backbone")],
)
def test_a_bad_concept_fails_only_requests_that_name_it(name: str, error: type[Exception], word: str) -> None:
    engine = Engine(FakeStepper(), FakeStore())
    good = engine.submit(ask(concepts=("good",)))
    for make in (ask, draw):
        with pytest.raises(error, match=word):
            engine.submit(make(concepts=("good", name)))
    run(engine)
    assert good.result(0.0)
    assert engine.counters.concepts.errors == 2 and all(not kept.users for kept in engine.shelf._kept.values())


def test_rows_are_given_back_however_a_request_ends() -> None:
    engine = Engine(FakeStepper(), FakeStore(), EngineSettings(canvases=1))
    for make in (ask, draw):
        for seed in (1, 13, 99, 666):
            engine.submit(make(seed=seed, concepts=("bo",)))
        engine.submit(make(seed=2, concepts=("bo",))).cancel()
    run(engine)
    assert [kept.users for kept in engine.shelf._kept.values()] == [0]


def test_text_may_use_only_rows_that_its_concepts_have() -> None:
    engine = Engine(FakeStepper(), FakeStore())
    for rows, concepts in ((Rows((9,)), ("bo",)), (Rows((0,), 1), ("bo",)), (Rows((0,)), ())):
        with pytest.raises(RequestError):
            engine.submit(replace(ask(concepts=concepts), turns=(Turn((rows,)),)))
    assert all(not kept.users for kept in engine.shelf._kept.values())
