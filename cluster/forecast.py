"""`python -m cluster plan`: what a job will need, before anything starts; every job asks the same when it begins."""

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from cluster.capacity import Forecast, Planner, Room, machine_flops
from cluster.engines import EngineSettings, add_engine, read_engine
from cluster.host import elsewhere
from cluster.job_settings import WIDTH
from cluster.lane_shape import lane_count
from unictokens.backbones.precision import DTYPES
from unictokens.cli.options import add_config, read_config
from unictokens.cli.progress import make_console
from unictokens.cli.shell import OK
from unictokens.config import RunConfig
from unictokens.data.catalog import Catalog
from unictokens.data.epochs import spread
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError, DataError, StorageError
from unictokens.memory import GIB, available_bytes, host_bytes, in_words

LOOKED_AT = 128
"""Concepts from which a job's are told: reading 100,000 for a forecast would take longer than planning them."""
ELSEWHERE = "'python -m cluster plan --device-memory GIB' says what fits on a machine of the cluster"


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `plan`."""
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--concepts", default="all", help="all, or names with commas (all)")
    parser.add_argument("--lanes", type=int, default=0, help="workers (one per GPU; without, one per core, at most 4)")
    parser.add_argument("--pack", type=int, default=WIDTH, help=f"concepts that a worker trains together ({WIDTH})")
    parser.add_argument(
        "--device-memory",
        type=float,
        default=0.0,
        metavar="GIB",
        help="plan for GPUs of this size (those of this machine)",
    )
    parser.add_argument(
        "--host-memory", type=float, default=0.0, metavar="GIB", help="of a machine (what is free here)"
    )
    add_config(parser)
    add_engine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the forecast; an impossible job is refused with the change that would make it possible."""
    config, console = read_config(arguments), make_console()
    engine = read_engine(arguments, config)
    catalog = Catalog.open(arguments.data)
    names = catalog.select(arguments.concepts)
    lanes = count_lanes(arguments.lanes, engine, len(names), gpus=1 if arguments.device_memory else 0)
    room = room_of_a_process(lanes * engine.processes, arguments.device_memory, arguments.host_memory)
    found = plan_lane(config, engine, some_readable(catalog, names), arguments.pack, lanes, room, len(names))
    console.print(table(found, room, f"{len(names)} concepts, lanes: {lanes}, processes of each: {engine.processes}"))
    console.print(in_a_line(found, lanes), highlight=False)
    return OK


def fitted(
    console: Console,
    config: RunConfig,
    engine: EngineSettings,
    catalog: Catalog,
    names: Sequence[str],
    lanes: int,
    width: int,
) -> tuple[EngineSettings, int]:
    """The engine and pack width of a job on this machine, as asked for or, where that does not fit, less.

    On a cluster it stays as asked for: the driver's machine, often one without a GPU, says nothing of those of the lanes.
    """
    if elsewhere():
        room = in_words(engine.cache_bytes)
        console.print(
            f"plan: packs of {width}, image prefixes up to {room}, as asked for: {ELSEWHERE}", highlight=False
        )
        return engine, width
    count = count_lanes(lanes, engine, len(names))
    room = room_of_a_process(count * engine.processes)
    found = plan_lane(config, engine, some_readable(catalog, names), width, count, room, len(names))
    console.print(in_a_line(found, count), highlight=False)
    return replace(engine, cache_bytes=found.cache_bytes), found.width


def some_readable(catalog: Catalog, names: Sequence[str]) -> list[ConceptRecord]:
    """The records of at most `LOOKED_AT` concepts that can be read, spread evenly over all; of few concepts, all of them."""
    spread_out = [names[at] for at in spread(len(names), LOOKED_AT)]
    # Where none of these can be read, another may be: in all their order, and only then.
    for some in (spread_out, names):
        found = []
        for name in some:
            try:
                found.append(catalog.concept(name))
            except (DataError, StorageError):
                continue
            if len(found) == LOOKED_AT:
                break
        if found:
            return found
    return []


def count_lanes(wanted: int, engine: EngineSettings, runs: int, gpus: int = 0) -> int:
    """How many lanes a job of so many runs opens on this machine, or on one with at least so many GPUs per lane asked for."""
    gpus = max(torch.cuda.device_count(), gpus * engine.processes * max(1, wanted))
    return lane_count(wanted, engine.processes, runs, os.cpu_count() or 1, gpus)


def room_of_a_process(processes: int, device_gib: float = 0.0, host_gib: float = 0.0) -> Room:
    """What each of so many processes may take here, or on a machine of the given memory."""
    free, whole = available_bytes(), host_bytes()
    host = int(host_gib * GIB) or (None if free is None or whole is None else min(free, whole))
    device = int(device_gib * GIB) or None
    if device is None and torch.cuda.is_available():
        device = torch.cuda.mem_get_info(0)[0]
    return Room(host=None if host is None else host // processes, device=device)


def plan_lane(
    config: RunConfig,
    engine: EngineSettings,
    records: Sequence[ConceptRecord],
    width: int,
    lanes: int,
    room: Room,
    concepts: int = 0,
) -> Forecast:
    """The forecast of one lane of a job about so many concepts, those of `records` among them (0: no others).

    Raises ConfigError when nothing fits, and for a pack below one.
    """
    if width < 1:
        raise ConfigError(f"--pack {width} is below one: use the number of concepts to train together")
    concepts = concepts or len(records)
    planner = Planner(config, engine, records, concepts)
    if engine.offload == "nvme" and engine.folder is not None:
        free, weights = shutil.disk_usage(engine.folder).free, planner.demand.weight_bytes
        if free < weights * lanes:
            raise StorageError(
                f"--offload-path '{engine.folder}' has {in_words(free)} free, the weights of {lanes} lanes take "
                f"{in_words(weights * lanes)}: free some, or choose another folder"
            )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    speed = 0.0
    if room.device is None or device == "cuda":
        threads = max(1, (os.cpu_count() or 1) // (lanes * engine.processes))
        speed = engine.processes * machine_flops(device, DTYPES[config.precision], threads)
    return planner.fit(min(width, -(-concepts // lanes)), room, speed, lanes)


def in_a_line(found: Forecast, lanes: int) -> str:
    """The forecast for people in a hurry."""
    device = f"{in_words(found.device_bytes)} of GPU memory and " if found.device else ""
    pace = "" if found.seconds is None else f", about {_duration(found.seconds / lanes)} per concept"
    return (
        f"plan: {lanes} {'lane' if lanes == 1 else 'lanes'}, packs of {found.width}, image prefixes up to "
        f"{in_words(found.cache_bytes)}: {device}{in_words(found.host_bytes)} of memory in each process{pace}"
    )


def table(found: Forecast, room: Room, title: str) -> Table:
    """Bytes by what takes them."""
    made = Table("memory of a process", *(["GPU"] if found.device else []), "host", title=title)
    for part in dict.fromkeys([*found.host, *found.device]):
        if not (found.device.get(part) or found.host.get(part)):
            continue
        cells = [found.device.get(part, 0), found.host.get(part, 0)][0 if found.device else 1 :]
        made.add_row(part, *(in_words(cell) if cell else "" for cell in cells))
    sums = [found.device_bytes, found.host_bytes][0 if found.device else 1 :]
    made.add_row("together", *map(in_words, sums), style="bold")
    there = [room.device, room.host][0 if found.device else 1 :]
    made.add_row("there is", *("unknown" if amount is None else in_words(amount) for amount in there))
    return made


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
