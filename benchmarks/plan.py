"""Forecast against fact: the memory that `cluster.capacity` predicts for a lane's process and what such a process takes."""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

from benchmarks.pack import ONE_EPOCH, train_some
from benchmarks.timing import Result, Row
from cluster.capacity import Forecast, Planner, empty_process_bytes
from cluster.engines import EngineSettings
from unictokens.backbones import load_backbone
from unictokens.backbones.precision import DTYPES
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.prefix import DEFAULT_BYTES
from unictokens.config import RunConfig, load_config, override
from unictokens.data.catalog import Catalog
from unictokens.data.toyland.writer import write_dataset
from unictokens.errors import ConfigError
from unictokens.memory import GIB, MIB, peak_bytes
from unictokens.methods.base import Beginning
from unictokens.training.engine import LocalEngine
from unictokens.training.state import RunState
from unictokens.training.step import Look


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--widths", default="1,4,8,16", help="pack widths, with commas")
    parser.add_argument("--config", default="demo", help="preset or file; epochs are set to one per stage")
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=tuple(DTYPES), default="fp32")
    parser.add_argument("--questions", type=int, default=0, help="of a stage, for large backbones (default 0: all)")
    parser.add_argument(
        "--cache", type=float, default=DEFAULT_BYTES / GIB, metavar="GIB", help="for image prefixes (0.5)"
    )
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> Result:
    """Every width trains that many concepts in a process of its own, which has imported what a lane imports."""
    if peak_bytes() is None:
        raise ConfigError("this measurement reads /proc: run it on Linux")
    asked = {f"stages.{stage}.understanding_limit": options.questions for stage in ("warmup", "bootstrap", "deepen")}
    changed = {**ONE_EPOCH, **asked, "backbone": options.backbone, "precision": options.precision}
    config = override(load_config(options.config), changed)
    if options.probe:
        _fact(options, config)
    engine = replace(EngineSettings.of(config), cache_bytes=int(options.cache * GIB))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_dataset(data)
        for width in (int(width) for width in options.widths.split(",")):
            records = [Catalog.open(data).concept(name) for name in Catalog.open(data).names[:width]]
            planner = Planner(config, engine, records)
            found = planner.forecast(len(records), on_gpu=options.device != "cpu")
            rows.append({"width": len(records), **compared(found, _probe(options, data, len(records)))})
    settings = {name: getattr(options, name) for name in ("config", "backbone", "device", "precision", "cache")}
    return Result("plan", settings, tuple(rows))


def compared(found: Forecast, facts: Row) -> Row:
    """Forecast and fact side by side in MiB; facts are those of `trained`."""
    row: Row = {}
    for place, told in (("host", found.host_bytes), ("GPU", found.device_bytes)):
        if facts[place]:
            row[f"{place} predicted MiB"] = told / MIB
            row[f"{place} measured MiB"] = facts[place] / MIB
            row[f"{place} error"] = f"{100 * (told / facts[place] - 1):+.1f} %"
    if facts["GPU"]:
        row |= {f"predicted: {part} MiB": taken / MIB for part, taken in found.device.items()}
        row |= {f"measured: {part} MiB": taken / MIB for part, taken in facts["parts"].items()}
    return row


def trained(backbone: ShowO, config: RunConfig, data: Path, width: int) -> Row:
    """Bytes that training one epoch of every stage with a pack of `width` takes in this process, everything included.

    host, GPU  of the process, and of everybody on the card
    parts      of the card: the driver's, what torch's allocator holds, what it gave out at most and when, image prefixes kept
    """
    peaks, parts = Peaks(backbone.device), {}
    engine = LocalEngine(backbone, backbone.device)
    with tempfile.TemporaryDirectory() as folder:
        train_some(engine, Catalog.open(data), config, Path(folder), width, width, peaks)
    on_gpu = 0
    if backbone.device.type == "cuda":
        free, whole = torch.cuda.mem_get_info()
        on_gpu, held = whole - free, torch.cuda.memory_reserved()
        parts = {"driver": on_gpu - held, "allocator": held, "given out": max(peaks.found.values()), **peaks.found}
        parts["image prefixes"] = backbone.prefixes.held[0]
    return {"host": peak_bytes(), "GPU": on_gpu, "parts": parts}


class Peaks:
    """Observes a pack: most GPU memory that was given out until a stage began (drawing for it), and in its steps, bytes."""

    def __init__(self, device: torch.device) -> None:
        self._counts = device.type == "cuda"
        self.found: dict[str, int] = {}

    def begun(self, state: RunState, beginning: Beginning) -> None:
        """A stage begins."""
        self._note(f"before {state.stage.name}")

    def stepped(self, state: RunState, look: Look) -> None:
        """A step was made; of a pack that shares it the first one has all of it to its name."""
        self._note(state.stage.name)

    def _note(self, what: str) -> None:
        if self._counts:
            self.found[what] = max(self.found.get(what, 0), torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()


def _probe(options: argparse.Namespace, data: Path, width: int) -> Row:
    command = [sys.executable, "-m", "benchmarks", "plan", "--probe", str(width), "--data", str(data)]
    command += ["--config", options.config, "--backbone", options.backbone, "--device", options.device]
    command += ["--precision", options.precision, "--questions", str(options.questions), "--cache", str(options.cache)]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def _fact(options: argparse.Namespace, config: RunConfig) -> NoReturn:
    empty_process_bytes()
    backbone = load_backbone(options.backbone, device=options.device, precision=options.precision)
    backbone.keep_prefixes(int(options.cache * GIB))
    print(json.dumps(trained(backbone, config, options.data, options.probe)))
    sys.exit(0)
