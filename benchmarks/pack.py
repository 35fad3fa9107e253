"""Concepts per minute for growing packs, one epoch of every stage each, in turn on one machine, and what this machine could do at best:
as many operations as a concept's training has in products, at the speed of nothing but such products.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import Result, Row, clock
from unictokens.backbones import load_backbone
from unictokens.config import RunConfig, load_config, override
from unictokens.data.catalog import Catalog
from unictokens.data.toyland.writer import write_dataset
from unictokens.methods.base import Setting
from unictokens.methods.draws import SeededDraws
from unictokens.tracking.base import Trackers
from unictokens.training.engine import LocalEngine
from unictokens.training.observer import Observer
from unictokens.training.pack import train_pack
from unictokens.training.run import Run
from unictokens.training.session import Alone

PRODUCT = (800, 256, 1024)
"""Tokens, width and inner width of the product whose speed is the machine's: one layer of the mini base for a pack of four."""
ONE_EPOCH = {"preview.every": 0, **{f"stages.{stage}.epochs": 1 for stage in ("warmup", "bootstrap", "deepen")}}


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--widths", default="1,2,4,8,16,32", help="pack widths, with commas")
    parser.add_argument(
        "--concepts", type=int, default=8, help="concepts trained at each width, at least the width (8)"
    )
    parser.add_argument("--config", default="demo", help="preset or file; epochs are set to one per stage")
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def measure(options: argparse.Namespace) -> Result:
    """Every width trains the same number of concepts (more where the width asks for more); codes are computed before."""
    widths = [int(width) for width in options.widths.split(",")]
    config = override(load_config(options.config), ONE_EPOCH)
    engine = LocalEngine(load_backbone(options.backbone, device=options.device), options.device)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "data")
        catalog = Catalog.open(Path(folder) / "data")
        train_some(engine, catalog, config, Path(folder) / "before", min(20, max(options.concepts, *widths)), 4)
        for width in widths:
            count = max(options.concepts, width)
            seconds = train_some(engine, catalog, config, Path(folder) / f"width{width}", count, width)
            rows.append({"width": width, "concepts": count, "s per concept": seconds / count})
        with FlopCounterMode(display=False) as counter:
            train_some(engine, catalog, config, Path(folder) / "counted", 1, 1)
    operations, speed = counter.get_total_flops(), product_speed(torch.device(options.device))
    rows.append({"width": "products alone", "concepts": 1, "s per concept": operations / speed})
    for row in rows:
        row["concepts per minute"] = 60 / row["s per concept"]
        row["ratio to the first"] = rows[0]["s per concept"] / row["s per concept"]
    settings: Row = {"config": options.config, "backbone": options.backbone, "device": options.device}
    settings |= {"GFLOP per concept": operations / 1e9, "GFLOP/s of products": speed / 1e9}
    return Result("pack", settings, tuple(rows))


def product_speed(device: torch.device) -> float:
    """Floating-point operations per second of `PRODUCT` in float32, at the fastest of nine times."""
    rows, width, inner = PRODUCT
    left_RW, right_WI = torch.randn(rows, width, device=device), torch.randn(width, inner, device=device)
    repeats = 200
    seconds = min(clock(lambda: [left_RW @ right_WI for _ in range(repeats)], device) for _ in range(9))
    return 2 * rows * width * inner * repeats / seconds


def train_some(
    engine: LocalEngine,
    catalog: Catalog,
    config: RunConfig,
    folder: Path,
    count: int,
    width: int,
    observer: Observer | None = None,
) -> float:
    """Train so many concepts in packs of `width`; returns seconds."""
    waiting = []
    for number in range(count):
        record = catalog.concept(catalog.names[number % len(catalog.names)])
        setting = Setting(engine.backbone, record, config, SeededDraws(number), engine.codes)
        waiting.append(
            Run(engine, setting, folder / str(number), tracker=Trackers(()), session=Alone(), observer=observer)
        )
    started = time.perf_counter()
    for ended in train_pack(engine, lambda: waiting.pop() if waiting else None, width):
        if ended.error is not None:
            raise ended.error
    return time.perf_counter() - started
