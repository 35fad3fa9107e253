"""Forecast against fact: the memory that `cluster.capacity` predicts for a lane's process and what such a process takes."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.pack import ONE_EPOCH, train_some
from benchmarks.timing import Result, Row
from cluster.capacity import Planner, empty_process_bytes
from cluster.engines import EngineSettings
from unictokens.backbones import load_backbone
from unictokens.backbones.precision import DTYPES
from unictokens.config import RunConfig, load_config, override
from unictokens.data.catalog import Catalog
from unictokens.data.toyland.writer import write_dataset
from unictokens.errors import ConfigError
from unictokens.memory import MIB, peak_bytes
from unictokens.training.engine import LocalEngine


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--widths", default="1,4,8,16", help="pack widths, with commas")
    parser.add_argument("--config", default="demo", help="preset or file; epochs are set to one per stage")
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=tuple(DTYPES), default="fp32")
    parser.add_argument("--questions", type=int, default=0, help="of a stage, for large backbones (default 0: all)")
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
        return Result("plan", {}, (_fact(options, config),))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_dataset(data)
        for width in (int(width) for width in options.widths.split(",")):
            records = [Catalog.open(data).concept(name) for name in Catalog.open(data).names[:width]]
            planner = Planner(config, EngineSettings.of(config), records)
            found = planner.forecast(len(records), on_gpu=options.device != "cpu")
            facts = _probe(options, data, len(records))
            row: Row = {"width": len(records)}
            for place, told in (("host", found.host_bytes), ("GPU", found.device_bytes)):
                if facts[place]:
                    row[f"{place} predicted MiB"] = told / MIB
                    row[f"{place} measured MiB"] = facts[place] / MIB
                    row[f"{place} error"] = f"{100 * (told / facts[place] - 1):+.1f} %"
            rows.append(row)
    settings = {name: getattr(options, name) for name in ("config", "backbone", "device", "precision")}
    return Result("plan", settings, tuple(rows))


def _probe(options: argparse.Namespace, data: Path, width: int) -> Row:
    command = [sys.executable, "-m", "benchmarks", "plan", "--probe", str(width), "--data", str(data)]
    command += ["--config", options.config, "--backbone", options.backbone, "--device", options.device]
    command += ["--precision", options.precision, "--questions", str(options.questions)]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def _fact(options: argparse.Namespace, config: RunConfig) -> Row:
    """Bytes that training one epoch of every stage takes here, everything included."""
    empty_process_bytes()
    backbone = load_backbone(options.backbone, device=options.device, precision=options.precision)
    engine = LocalEngine(backbone, options.device)
    with tempfile.TemporaryDirectory() as folder:
        train_some(engine, Catalog.open(options.data), config, Path(folder), options.probe, options.probe)
    on_gpu = 0
    if options.device != "cpu":
        free, whole = torch.cuda.mem_get_info()
        on_gpu = whole - free
    print(json.dumps({"host": peak_bytes(), "GPU": on_gpu}))
    sys.exit(0)
