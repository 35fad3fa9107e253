"""The engine's memory over many requests: drawings, questions, requests that are cancelled, late or refused, more concepts than fit."""

import argparse
import gc
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Hashable
from pathlib import Path

import torch

from benchmarks.serve_engine import concept_files
from benchmarks.shapes import LAYOUT, shape
from benchmarks.timing import Result, Row, memory_now
from serve.engine.asked import Ask, Asked, Draw
from serve.engine.engine import Engine
from serve.engine.events import Handle
from serve.engine.settings import EngineSettings
from unictokens.backbones.base import Decoding, Sampling, Turn
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.stepper import ShowOStepper
from unictokens.concepts.bundle import ConceptBundle, load_bundle
from unictokens.concepts.prompt import identifier, join, subject
from unictokens.errors import UniCTokensError

CONCEPTS, PICTURES = 100, 256
"""What is asked about: a quarter of the concepts fits in memory, and the codes of a quarter of the pictures."""
INSIDE = 24
"""Requests inside the engine at a time."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--shape", default="mini", help="mini, trial or full")
    parser.add_argument("--requests", type=int, default=10_000, help="(10000)")
    parser.add_argument("--every", type=int, default=1_000, help="requests between two looks at the memory (1000)")


def measure(options: argparse.Namespace) -> Result:
    """Memory of the process after each so many requests; it must not grow after the first look."""
    rows = soak(shape(options.shape).make(), options.requests, options.every)
    return Result("soak", {"shape": options.shape, "concepts": CONCEPTS}, tuple(rows))


def soak(backbone: ShowO, count: int, every: int) -> list[Row]:
    """Send `count` requests through an engine; a row after each `every` of them.

    resident MiB of this process, Python objects and memory blocks that are alive, threads; and how requests have ended so far
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        files = concept_files(backbone, Path(folder), CONCEPTS)
        held = sum(tensor.nbytes for tensor in load_bundle(files[0]).tokens.tensors())

        def load(reference: Hashable) -> ConceptBundle:
            assert isinstance(reference, int)
            return load_bundle(files[reference], backbone=backbone.info)

        settings = EngineSettings(photos=PICTURES // 4, concept_bytes=held * CONCEPTS // 4)
        engine, inside, ends = Engine(ShowOStepper(backbone), load, settings), deque[Handle](), Counter[str]()
        engine.start()
        for number in range(count):
            if len(inside) == INSIDE:
                ends[_end(inside.popleft())] += 1
            try:
                inside.append(engine.submit(_request(backbone, number)))
            except UniCTokensError as error:
                ends[type(error).__name__] += 1
                continue
            if number % 10 == 0:
                engine.cancel(inside[-1])
            if (number + 1) % every == 0:
                while inside:
                    ends[_end(inside.popleft())] += 1
                gc.collect()
                rows.append(
                    {
                        "requests": number + 1,
                        "resident MiB": memory_now() / 2**20,
                        "objects": len(gc.get_objects()),
                        "blocks": sys.getallocatedblocks(),
                        "threads": threading.active_count(),
                        "ended": ", ".join(f"{n} {name}" for name, n in sorted(ends.items())),
                    }
                )
        engine.close()
    return rows


def _end(handle: Handle) -> str:
    try:
        return type(handle.result(600.0)).__name__
    except UniCTokensError as error:
        return type(error).__name__


def _request(backbone: ShowO, number: int) -> Asked:
    """Each has another user than those before, picture and concept; some are late, some too long to be taken."""
    user, concepts = f"user {number}", (number % CONCEPTS,)
    seconds = 1e-6 if number % 50 == 7 else 60.0
    if number % 50 == 31:
        return Draw(user=user, prompt=("dog " * 2000,), concepts=concepts)
    if number % 3 == 0:
        prompt = join("A photo of ", subject(LAYOUT), ".")
        how = Sampling(steps=1, guidance=2.0)
        return Draw(user=user, prompt=prompt, concepts=concepts, seed=number, sampling=how, seconds=seconds)
    size = backbone.info.image_size
    return Ask(
        user=user,
        turns=(Turn(join("Is ", identifier(LAYOUT), " here?")),),
        concepts=concepts,
        names=("c",),
        seed=number,
        decoding=Decoding(max_tokens=2, top_k=20),
        seconds=seconds,
        picture_CHW=torch.rand(3, size, size, generator=torch.Generator().manual_seed(number % PICTURES)) * 2 - 1,
    )
