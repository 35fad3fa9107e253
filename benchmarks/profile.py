"""Where the time of training steps goes: seconds by kind of operation, for a run alone and in a pack (torch.profiler)."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.pack import ONE_EPOCH, train_some
from benchmarks.timing import Result, Row
from unictokens.backbones import load_backbone
from unictokens.config import load_config, override
from unictokens.data.catalog import Catalog
from unictokens.data.toyland.writer import write_dataset
from unictokens.training.engine import LocalEngine

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "attention": ("flash_attention",),
    "activation": ("aten::gelu",),
    "layer norm": ("layer_norm",),
    "joining and moving": (
        "aten::cat",
        "aten::copy_",
        "aten::index",
        "aten::_index_put",
        "aten::clone",
        "aten::contiguous",
    ),
    "convolutions": ("conv",),
}
"""Kinds and what the names of their operations contain; the first that fits counts."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--widths", default="1,8", help="pack widths, with commas")
    parser.add_argument("--concepts", type=int, default=8)
    parser.add_argument("--config", default="demo", help="preset or file; epochs are set to one per stage")
    parser.add_argument("--backbone", default="mini")


def measure(options: argparse.Namespace) -> Result:
    """Self time on the CPU per concept; the profiler itself makes everything slower, small operations most."""
    short = {f"stages.{stage}.understanding_limit": 24 for stage in ("warmup", "bootstrap", "deepen")}
    config = override(load_config(options.config), {**ONE_EPOCH, **short})
    engine = LocalEngine(load_backbone(options.backbone))
    columns: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "data")
        catalog = Catalog.open(Path(folder) / "data")
        train_some(engine, catalog, config, Path(folder) / "before", options.concepts, 4)
        for width in options.widths.split(","):
            with profile(activities=[ProfilerActivity.CPU]) as found:
                train_some(engine, catalog, config, Path(folder) / width, options.concepts, int(width))
            columns[f"width {width}"] = _by_kind(found.key_averages(), options.concepts)
    rows: list[Row] = [
        {"ms per concept": kind, **{name: column.get(kind, 0.0) for name, column in columns.items()}}
        for kind in (*KINDS, "other operations", "together")
    ]
    return Result("profile", {"config": options.config, "backbone": options.backbone}, tuple(rows))


def _by_kind(averages: Any, concepts: int) -> dict[str, float]:
    sums: dict[str, float] = {}
    for event in averages:
        kind = next(
            (kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)), "other operations"
        )
        for name in (kind, "together"):
            sums[name] = sums.get(name, 0.0) + event.self_cpu_time_total / 1000 / concepts
    return sums
