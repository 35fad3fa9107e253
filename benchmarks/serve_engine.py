"""The serving engine: mixed chat and drawing by many users at once, one at a time against batches, one concept against many."""

import argparse
import queue
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.shapes import LAYOUT, photos, shape
from benchmarks.timing import Result, Row
from serve.engine.asked import Ask, Asked, Draw
from serve.engine.engine import Engine
from serve.engine.events import Done, Event, Failed, Piece
from serve.engine.settings import EngineSettings
from unictokens.backbones.base import AnswerRequest, Decoding, GenerationRequest, Sampling, Turn
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.stepper import ShowOStepper
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.bundle import ConceptBundle, load_bundle, save_bundle
from unictokens.concepts.card import BackboneStamp, ConceptCard
from unictokens.concepts.prompt import identifier, join
from unictokens.concepts.tokens import ConceptTokens

PHOTOS = 8
"""Pictures that the questions are about."""


@dataclass(frozen=True)
class Way:
    """How requests are served: None stands for one after the other, without the engine."""

    name: str
    settings: EngineSettings | None
    concepts: int


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--shape", default="mini", help="mini, trial or full")
    parser.add_argument("--requests", type=int, default=64, help="of one measurement (64)")
    parser.add_argument("--users", type=int, default=24, help="who each ask again as soon as they are served (24)")
    parser.add_argument("--drawings", type=float, default=0.25, help="share of requests that draw (0.25)")
    parser.add_argument("--steps", type=int, default=12, help="of a drawing (12)")
    parser.add_argument("--tokens", type=int, default=24, help="longest answer (24)")
    parser.add_argument("--canvases", type=int, default=8, help="drawings in a pass (8)")
    parser.add_argument("--speeches", type=int, default=16, help="answers in a pass (16)")
    parser.add_argument("--concepts", type=int, nargs="+", default=[1, 50, 500])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=3)


def measure(options: argparse.Namespace) -> Result:
    """Requests per second of the wall's clock and of the process's, and seconds to the first word, all ways in turn.

    The process's clock counts what was computed, whatever else the machine is doing; it means nothing on a GPU.
    """
    backbone = shape(options.shape).make().to(options.device, getattr(torch, options.dtype))
    wide = EngineSettings(
        canvases=options.canvases, speeches=options.speeches, waiting=10**6, waiting_of_user=10**6, tick_seconds=1.0
    )
    narrow = EngineSettings(canvases=1, speeches=1, waiting=10**6, waiting_of_user=10**6)
    ways = [Way("one after the other", None, 1), Way("engine, 1 in a pass", narrow, 1)]
    ways += [Way(f"engine, {options.canvases} and {options.speeches} in a pass", wide, n) for n in options.concepts]
    pictures = photos(backbone, PHOTOS)
    found: dict[Way, list[Row]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        files = concept_files(backbone, Path(folder), max(options.concepts))
        for number in range(options.rounds + 1):
            for way in ways:
                row = _served(backbone, way, mixed_requests(options, pictures, way.concepts), options.users, files)
                if number:
                    found[way].append(row)
    rows = [
        {
            "way": way.name,
            "concepts": way.concepts,
            **{k: statistics.median(r[k] for r in found[way]) for k in found[way][0]},
        }
        for way in ways
    ]
    first = rows[0]["requests/s"], rows[0]["requests/cpu s"]
    for row in rows:
        row["ratio"], row["cpu ratio"] = row["requests/s"] / first[0], row["requests/cpu s"] / first[1]
    settings = {
        key: value for key, value in vars(options).items() if isinstance(value, int | float | str) and key != "json"
    }
    return Result("serve_engine", settings, tuple(rows))


def concept_files(backbone: ShowO, folder: Path, count: int) -> list[Path]:
    """Files of random concepts."""
    files, D = [], backbone.info.width
    for number in range(count):
        generator, K = torch.Generator().manual_seed(number), LAYOUT.total
        rows = [torch.randn(shape, generator=generator) * 0.02 for shape in ((K, D), (K, D), (K,))]
        card = ConceptCard(name=f"c{number}", class_word="dog", layout=LAYOUT, backbone=BackboneStamp.of(backbone.info))
        files.append(folder / f"{number}.safetensors")
        save_bundle(ConceptBundle(ConceptTokens(LAYOUT, *rows), card), files[-1])
    return files


def mixed_requests(options: argparse.Namespace, pictures: Tensor, concepts: int) -> list[Asked]:
    """Drawings and questions in a fixed random order, each of the next concept."""
    drawings = round(options.requests * options.drawings)
    kinds = [True] * drawings + [False] * (options.requests - drawings)
    random.Random(0).shuffle(kinds)
    made: list[Asked] = []
    layout = LAYOUT
    card = ConceptCard(
        name="c",
        class_word="dog",
        layout=layout,
        backbone=BackboneStamp(name="", width=1, vocabulary=1, fingerprint=""),
    )
    for number, draws in enumerate(kinds):
        user, concept = str(number % options.users), (number * 7 % concepts,)
        if draws:
            prompt = join("A photo of ", card.subject(), " at the beach.")
            made.append(
                Draw(user=user, prompt=prompt, concepts=concept, seed=number, sampling=Sampling(steps=options.steps))
            )
        else:
            asked = join(card.introduction(), "\nWhat is ", identifier(layout), " doing in the photo?")
            made.append(
                Ask(
                    user=user,
                    turns=(Turn(asked),),
                    concepts=concept,
                    names=("c",),
                    seed=number,
                    decoding=Decoding(max_tokens=options.tokens, top_k=20),
                    picture_CHW=pictures[number % len(pictures)],
                )
            )
    return made


def _served(backbone: ShowO, way: Way, requests: list[Asked], users: int, files: list[Path]) -> Row:
    """One measurement: all requests by `users` who each wait for an answer before they ask again."""
    backbone.prefixes.clear()
    waits: list[float] = []

    def load(reference: Hashable) -> ConceptBundle:
        assert isinstance(reference, int)
        return load_bundle(files[reference], backbone=backbone.info)

    started, cpu = time.perf_counter(), time.process_time()
    if way.settings is None:
        serve = _plainly(backbone, load, waits)
        # Whoever asks waits for all those before: the first `users` are there from the beginning, others come as these end.
        ends: list[float] = []
        for number, asked in enumerate(requests):
            came = started if number < users else ends[number - users]
            before = len(waits)
            serve(asked)
            ends.append(time.perf_counter())
            if len(waits) > before:
                waits[-1] -= came
        width = (1.0, 1.0)
    else:
        engine = Engine(ShowOStepper(backbone), load, way.settings)
        engine.start()
        _closed_loop(engine, requests, users, waits)
        width = (engine.counters.drawing.width.mean, engine.counters.answering.width.mean)
        engine.close()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "requests/s": len(requests) / seconds,
        "requests/cpu s": len(requests) / cpu,
        "first word s, median": statistics.median(waits),
        "95 %": statistics.quantiles(waits, n=20)[-1],
        "drawings a pass": width[0],
        "answers a pass": width[1],
    }


def _closed_loop(engine: Engine, requests: list[Asked], users: int, waits: list[float]) -> None:
    todo: queue.SimpleQueue[Asked] = queue.SimpleQueue()
    for asked in requests:
        todo.put(asked)
    left, finished = [len(requests)], threading.Event()

    def ask_next() -> None:
        try:
            asked = todo.get_nowait()
        except queue.Empty:
            return
        came, heard = time.perf_counter(), False

        def listen(event: Event) -> None:
            nonlocal heard
            if isinstance(event, Piece | Done) and isinstance(asked, Ask) and not heard:
                heard = True
                waits.append(time.perf_counter() - came)
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Done):
                left[0] -= 1
                finished.set() if not left[0] else ask_next()

        engine.submit(asked, listen)

    for _ in range(users):
        ask_next()
    finished.wait()


def _plainly(backbone: ShowO, load: Callable[[Hashable], ConceptBundle], waits: list[float]) -> Callable[[Asked], None]:
    """Serves one request by the backbone's own batched paths; notes when the first word came."""
    banks: dict[Hashable, ConceptBank] = {}

    def serve(asked: Asked) -> None:
        reference = asked.concepts[0]
        if reference not in banks:
            banks[reference] = ConceptBank.stack([load(reference).tokens])
        bank, heard = banks[reference], False
        if isinstance(asked, Draw):
            drawn = backbone.generate([GenerationRequest(asked.prompt, asked.seed)], bank, asked.sampling)
            backbone.decode(drawn[0].codes_N[None])
            return

        def listen(_: int, text: str) -> None:
            nonlocal heard
            if not heard:
                heard = True
                waits.append(time.perf_counter())

        assert asked.picture_CHW is not None
        codes_N = backbone.encode(asked.picture_CHW[None])[0]
        request = AnswerRequest(asked.turns[0].question, codes_N, (0,), ("c",))
        generator = torch.Generator().manual_seed(asked.seed)
        backbone.answer([request], bank, asked.decoding, generator, listen)
        if not heard:
            waits.append(time.perf_counter())

    return serve
