"""Clocks, memory and how results are printed."""

import json
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]
"""A line of a result: column name to number or word."""


@dataclass(frozen=True)
class Result:
    """What a benchmark found; `settings` say what it was asked and on what it ran."""

    name: str
    settings: Row
    rows: tuple[Row, ...]


def machine() -> Row:
    """On what this runs."""
    found: Row = {"torch": torch.__version__, "threads": torch.get_num_threads(), "python": platform.python_version()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def clock(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes, the device's work included."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def in_turn(works: Sequence[Callable[[], object]], rounds: int, device: torch.device) -> list[float]:
    """Median seconds of each work, done in turn so that all meet the same machine; one round before does not count."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for at, work in enumerate(works):
            seconds = clock(work, device)
            if number:
                times[at].append(seconds)
    return [statistics.median(part) for part in times]


def peak_memory() -> int:
    """Most memory this process ever had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_now() -> int:
    """Resident memory of this process, bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def show(result: Result, as_json: bool) -> None:
    """Print a result as one JSON object, or as a Markdown table."""
    if as_json:
        print(json.dumps({"name": result.name, **result.settings, "machine": machine(), "rows": result.rows}))
        return
    columns = list(dict.fromkeys(column for row in result.rows for column in row))
    print(f"{result.name}: " + ", ".join(f"{key} {value}" for key, value in {**result.settings, **machine()}.items()))
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in result.rows:
        print("| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |")


def _cell(value: Any) -> str:
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
