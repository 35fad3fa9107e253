"""What the serving benchmarks measure: every way serves everybody, lateness counts, and memory stays where it is."""

import argparse
import statistics
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import serve
from benchmarks.caller import Caller
from benchmarks.serve import arrivals, first_words
from benchmarks.serve_engine import concept_files, mixed_requests
from benchmarks.servers import Batching, Grouped, Server, Ticket
from benchmarks.shapes import photos
from benchmarks.soak import soak
from serve.engine.settings import EngineSettings
from unictokens.backbones.base import AnswerRequest, GenerationRequest
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.bundle import ConceptBundle, load_bundle
from unictokens.errors import ServeError

REQUESTS, CONCEPTS = 24, 6
WAYS: dict[str, Callable[..., Server]] = {
    "one at a time": lambda backbone, load: Grouped(backbone, load, 1, 1, 0.0, 2),
    "groups": lambda backbone, load: Grouped(backbone, load, 4, 8, 0.01, CONCEPTS),
    "engine": lambda backbone, load: Batching(backbone, load, EngineSettings()),
}


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with Caller() as calling:
        yield calling


@pytest.mark.parametrize("way", WAYS)
def test_every_way_serves_all_requests(
    way: str, caller: Caller, tiny_backbone: ShowO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser()
    serve.add(parser)
    options = parser.parse_args(["--requests", str(REQUESTS), "--steps", "2", "--tokens", "3", "--drawings", "0.5"])
    requests = mixed_requests(options, photos(tiny_backbone, 2), CONCEPTS)
    files, loads, widths = concept_files(tiny_backbone, tmp_path, CONCEPTS), [], []
    answer, generate = ShowO.answer, ShowO.generate

    def load(reference: Hashable) -> ConceptBundle:
        assert isinstance(reference, int)
        loads.append(reference)
        return load_bundle(files[reference])

    def answered(self: ShowO, asked: list[AnswerRequest], *rest: object) -> list[str]:
        widths.append(len(asked))
        return answer(self, asked, *rest)  # type: ignore[arg-type]

    def drawn(self: ShowO, asked: list[GenerationRequest], *rest: object):  # type: ignore[no-untyped-def]
        widths.append(len(asked))
        return generate(self, asked, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ShowO, "answer", answered)
    monkeypatch.setattr(ShowO, "generate", drawn)
    server = WAYS[way](tiny_backbone, load)
    tickets = caller.offer(server, requests, [0.0] * REQUESTS)
    server.close()
    assert len(first_words(tickets)) == REQUESTS // 2
    assert all(ticket.first is not None and ticket.came <= ticket.first <= ticket.end for ticket in tickets)
    assert (len(loads) > CONCEPTS) == (way == "one at a time")
    if way == "one at a time":
        assert widths == [1] * REQUESTS
    elif way == "groups":
        assert max(widths) in (4, 8) and sum(widths) == REQUESTS
    else:
        assert not widths


@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_fails_ends_the_measurement(
    way: str, tiny_backbone: ShowO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser()
    serve.add(parser)
    options = parser.parse_args(["--requests", "2", "--steps", "2", "--tokens", "3"])
    files = concept_files(tiny_backbone, tmp_path, 2)

    def broken(self: ShowO, pictures: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("this card is broken")

    monkeypatch.setattr(ShowO, "encode", broken)
    server = WAYS[way](tiny_backbone, lambda reference: load_bundle(files[int(str(reference))]))
    try:
        with Caller() as calling, pytest.raises((RuntimeError, ServeError), match="this card is broken"):
            calling.offer(server, mixed_requests(options, photos(tiny_backbone, 2), 2), [0.0, 0.0])
    finally:
        server.close()


def test_a_server_that_keeps_its_caller_waiting_is_charged_for_it(caller: Caller) -> None:
    """Requests count from when they should have come, however late the server takes them."""

    class Slow:
        def submit(self, ticket: Ticket) -> None:
            time.sleep(0.02)
            ticket.finish()

        def close(self) -> None:
            return None

    late = caller.offer(Slow(), [None] * 20, [0.0] * 20)  # type: ignore[list-item]
    waits = [ticket.end - ticket.came for ticket in late]
    assert waits == sorted(waits) and waits[-1] > 20 * 0.02
    spread = caller.offer(Slow(), [None] * 5, [0.1 * number for number in range(5)])  # type: ignore[list-item]
    middle = statistics.median(ticket.end - ticket.came for ticket in spread)
    assert middle < waits[-1] / 2, "whoever comes later has not waited before"


def test_arrivals_come_at_the_rate_that_is_asked_for() -> None:
    seconds = arrivals(4000, 8.0)
    assert seconds == sorted(seconds) and seconds[-1] == pytest.approx(500.0, rel=0.05)
    assert arrivals(50, 4.0) == pytest.approx([2 * second for second in arrivals(50, 8.0)])


@pytest.mark.slow
def test_memory_is_flat_over_two_thousand_requests(tiny_backbone: ShowO) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # products of this size only wait for a second core
    try:
        first, last = soak(tiny_backbone, 2000, 1000)
    finally:
        torch.set_num_threads(threads)
    for kind in ("Answer", "Drawn", "Cancelled", "TimedOut", "RequestError"):
        assert kind in last["ended"]
    # A leak of one object, of a thousand numbers or of a picture (12 KiB) per request would show.
    assert last["objects"] - first["objects"] < 500 and last["blocks"] - first["blocks"] < 900
    assert last["resident MiB"] - first["resident MiB"] < 8 and last["threads"] == first["threads"]
