"""Serving under load: requests that come when they like (Poisson), from another process, to the engine, to groups of whole requests, to one at a time."""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Hashable
from pathlib import Path

import torch

from benchmarks.caller import Caller
from benchmarks.serve_engine import concept_files, mixed_requests
from benchmarks.servers import Batching, Grouped, Server, Ticket
from benchmarks.shapes import photos, shape
from benchmarks.timing import Result, Row
from serve.engine.asked import Ask, Asked
from serve.engine.settings import EngineSettings
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.bundle import ConceptBundle, load_bundle

PHOTOS = 8
"""Pictures that the questions are about."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--shape", default="mini", help="mini, trial or full")
    parser.add_argument("--requests", type=int, default=96, help="of one measurement (96)")
    parser.add_argument("--alone", type=int, default=16, help="questions asked one by one, for the unloaded time (16)")
    parser.add_argument("--load", type=float, default=0.7, help="share of its own most that a way is offered (0.7)")
    parser.add_argument("--users", type=int, default=24, help="who ask (24)")
    parser.add_argument("--drawings", type=float, default=0.25, help="share of requests that draw (0.25)")
    parser.add_argument("--steps", type=int, default=12, help="of a drawing (12)")
    parser.add_argument("--tokens", type=int, default=24, help="longest answer (24)")
    parser.add_argument("--canvases", type=int, default=8, help="drawings in a pass or a group (8)")
    parser.add_argument("--speeches", type=int, default=16, help="answers in a pass or a group (16)")
    parser.add_argument("--wait", type=float, default=0.01, help="seconds that a group waits to fill (0.01)")
    parser.add_argument(
        "--concepts", type=int, nargs="+", default=[50], help="that are asked about; several in turn (50)"
    )
    parser.add_argument("--kept", type=int, default=8, help="concepts that one at a time keeps in memory (8)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")


def measure(options: argparse.Namespace) -> Result:
    """For each way: requests per second when all wait from the beginning; seconds alone, and at a share of that rate.

    The process's clock (cpu s) counts what was computed, whatever else the machine is doing; it means nothing on a GPU.
    """
    backbone = shape(options.shape).make().to(options.device, getattr(torch, options.dtype))
    rows: list[Row] = []
    with Caller() as caller:
        for concepts in options.concepts:
            rows += _ways(backbone, caller, options, concepts)
    told = {
        key: value for key, value in vars(options).items() if isinstance(value, int | float | str) and key != "json"
    }
    return Result("serve", {**told, "others' load": round(os.getloadavg()[0], 1)}, tuple(rows))


def _ways(backbone: ShowO, caller: Caller, options: argparse.Namespace, concepts: int) -> list[Row]:
    requests = mixed_requests(options, photos(backbone, PHOTOS), concepts)
    settings = EngineSettings(
        canvases=options.canvases, speeches=options.speeches, waiting=10**6, waiting_of_user=10**6
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        files = concept_files(backbone, Path(folder), concepts)

        def load(reference: Hashable) -> ConceptBundle:
            assert isinstance(reference, int)
            return load_bundle(files[reference], backbone=backbone.info)

        groups = (options.canvases, options.speeches, options.wait, concepts)
        ways: dict[str, Callable[[], Server]] = {
            "one at a time, concepts in turn": lambda: Grouped(backbone, load, 1, 1, 0.0, options.kept),
            "groups of whole requests": lambda: Grouped(backbone, load, *groups),
            "engine": lambda: Batching(backbone, load, settings),
        }
        for name, make in ways.items():
            server = make()
            try:
                backbone.prefixes.clear()
                # Once without counting: files are read, and whatever a way keeps in memory is there.
                caller.offer(server, requests, [0.0] * len(requests))
                rows.append({"concepts": concepts, "way": name, **_row(server, caller, requests, options)})
            finally:
                server.close()
    for row in rows:
        row["ratio"] = row["requests/s"] / rows[0]["requests/s"]
        row["cpu ratio"] = row["requests/cpu s"] / rows[0]["requests/cpu s"]
    return rows


def _row(server: Server, caller: Caller, requests: list[Asked], options: argparse.Namespace) -> Row:
    worked = time.process_time()
    whole = caller.offer(server, requests, [0.0] * len(requests))
    most = len(requests) / (max(ticket.end for ticket in whole) - whole[0].came)
    worked = time.process_time() - worked
    questions = [asked for asked in requests if isinstance(asked, Ask)][: options.alone]
    alone = statistics.median(
        first for asked in questions for first in first_words(caller.offer(server, [asked], [0.0]))
    )
    rate = options.load * most
    loaded = caller.offer(server, requests, arrivals(len(requests), rate))
    first, ends = first_words(loaded), [ticket.end - ticket.came for ticket in loaded]
    return {
        "requests/s": most,
        "ratio": 0.0,
        "requests/cpu s": len(requests) / worked,
        "cpu ratio": 0.0,
        "alone: first word s": alone,
        "offered/s": rate,
        "first word s": statistics.median(first),
        "times alone": statistics.median(first) / alone,
        "first word 95 %": percentile(first, 95),
        "first word 99 %": percentile(first, 99),
        "whole s": statistics.median(ends),
        "whole 95 %": percentile(ends, 95),
        "whole 99 %": percentile(ends, 99),
    }


def arrivals(count: int, rate: float) -> list[float]:
    """Seconds at which requests come, `rate` a second on average; the same pattern for every rate."""
    random_gaps, second, found = random.Random(0), 0.0, []
    for _ in range(count):
        second += random_gaps.expovariate(rate)
        found.append(second)
    return found


def first_words(tickets: list[Ticket]) -> list[float]:
    """Seconds from when a question came to the first word of its answer."""
    return [ticket.first - ticket.came for ticket in tickets if isinstance(ticket.asked, Ask) and ticket.first]


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent of the values do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
