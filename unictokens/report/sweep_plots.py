"""Plots of sweeps as PNG files: how trials went, what they have in common, which setting matters, what one metric costs of another."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

from unictokens.atomic import write_bytes
from unictokens.errors import DependencyError
from unictokens.report.plots import DPI, GRID, INK, OURS, PAPER

FADED = "#b6bfcc"
PALE, DEEP = (0.80, 0.86, 0.97), (0.07, 0.20, 0.55)
"""Colours of the worst and the best trial; others lie between by rank."""
LABELLED = 12
"""Points of a front whose trials are named."""


@dataclass(frozen=True)
class Curve:
    """What was watched of a trial: (epoch, value) in order."""

    number: int
    points: Sequence[tuple[int, float]]
    state: str
    best: bool


@dataclass(frozen=True)
class Axis:
    """A setting and what each trial had there."""

    name: str
    values: Sequence[Any]
    log: bool


@dataclass(frozen=True)
class Point:
    """A trial between two metrics; `spread` is of `y`."""

    number: int
    x: float
    y: float
    spread: float
    front: bool


def draw_curves(path: Path, curves: Sequence[Curve], watched: str, title: str) -> Path:
    """The watched metric of every trial by epoch; those that were stopped end with a cross."""
    figure, axis = _figure(6.4, 4.0)
    for curve in sorted(curves, key=lambda each: each.best):
        epochs, values = zip(*curve.points, strict=True)
        colour = OURS if curve.best else INK if curve.state == "finished" else FADED
        axis.plot(epochs, values, color=colour, lw=2.2 if curve.best else 1.0, alpha=1.0 if curve.best else 0.75)
        if curve.state == "stopped":
            axis.plot(epochs[-1], values[-1], "x", color=FADED, ms=6)
    for label, colour, mark in (
        ("the best trial", OURS, "-"),
        ("finished", INK, "-"),
        ("stopped early", FADED, "x-"),
    ):
        axis.plot([], [], mark, color=colour, label=label)
    if all(value > 0 for curve in curves for _, value in curve.points):
        axis.set_yscale("log")
    axis.set_xlabel("epochs over all stages")
    axis.set_ylabel(watched.replace("_", " "))
    axis.legend(frameon=False, fontsize=8.5)
    return _save(figure, axis, path, f"{title}: trials while they trained")


def draw_parallel(
    path: Path, axes: Sequence[Axis], values: Sequence[float], metric: str, goal: str, title: str
) -> Path:
    """A line per trial through its settings to its metric; the darker, the better."""
    figure, axis = _figure(max(6.4, 1.7 * (len(axes) + 1)), 4.4)
    columns = [*axes, Axis(metric, values, False)]
    heights = [_heights(column) for column in columns]
    order = sorted(range(len(values)), key=lambda trial: values[trial], reverse=goal == "min")
    for rank, trial in enumerate(order):
        share = rank / max(1, len(order) - 1)
        colour = tuple(pale + (deep - pale) * share for pale, deep in zip(PALE, DEEP, strict=True))
        line = [place[trial] for place, _ in heights]
        best = rank == len(order) - 1
        axis.plot(range(len(columns)), line, color=PAPER if best else colour, lw=2.4 if best else 1.3, zorder=rank + 2)
    for at, (_, ticks) in enumerate(heights):
        axis.axvline(at, color=INK, lw=0.8, zorder=1)
        for height, text in ticks:
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
            axis.text(at + 0.03, height, text, fontsize=7.5, va="center", color=INK, zorder=len(values) + 3, bbox=box)
    axis.set_xticks(range(len(columns)), [_broken(column.name) for column in columns], fontsize=8)
    axis.set_xlim(-0.1, len(columns) - 0.6)
    axis.set_ylim(-0.06, 1.06)
    axis.set_yticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(axis="x", length=0)
    return _save(figure, axis, path, f"{title}: settings of {len(values)} trials, the best in orange, darker is better")


def draw_importance(path: Path, shares: Mapping[str, float], metric: str, trials: int, title: str) -> Path:
    """A bar per setting."""
    figure, axis = _figure(6.4, 1.3 + 0.38 * len(shares))
    for row, share in enumerate(shares.values()):
        axis.barh(row, share, color=OURS, alpha=0.85, height=0.62)
        axis.annotate(f"{share:.2f}", (share, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(shares)), list(shares), fontsize=8.5)
    axis.set_ylim(len(shares) - 0.5, -0.5)
    axis.set_xlim(0, 1.0)
    axis.set_xlabel(
        f"share of the variance of {metric} that the setting alone explains ({trials} trials)", fontsize=8.5
    )
    axis.grid(axis="x", color=GRID)
    return _save(figure, axis, path, f"{title}: what matters")


def draw_pareto(path: Path, points: Sequence[Point], across: str, upwards: str, title: str) -> Path:
    """Every finished trial between two metrics, the front joined."""
    figure, axis = _figure(6.4, 4.4)
    rest = [point for point in points if not point.front]
    front = sorted((point for point in points if point.front), key=lambda point: (point.x, point.y))
    axis.plot([point.x for point in rest], [point.y for point in rest], "o", color=FADED, ms=5, label="other trials")
    axis.errorbar(
        [point.x for point in front],
        [point.y for point in front],
        yerr=[point.spread for point in front],
        fmt="o-",
        color=OURS,
        ms=6,
        capsize=3,
        lw=1.2,
        label="no trial is better in both",
    )
    for point in front[:LABELLED]:
        axis.annotate(
            f"trial {point.number}",
            (point.x, point.y),
            xytext=(5, -11),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
        )
    axis.set_xlabel(across)
    axis.set_ylabel(upwards)
    axis.grid(color=GRID)
    axis.legend(frameon=False, fontsize=8.5)
    return _save(figure, axis, path, f"{title}: {upwards} against {across}")


def _heights(axis: Axis) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights of 0 to 1 of a column's values, and its ticks."""
    numbers = [value for value in axis.values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(axis.values):
        names = list(dict.fromkeys(value if isinstance(value, str) else json.dumps(value) for value in axis.values))
        names.sort()
        step = 1 / max(1, len(names) - 1)
        place = {name: at * step if len(names) > 1 else 0.5 for at, name in enumerate(names)}
        taken = [value if isinstance(value, str) else json.dumps(value) for value in axis.values]
        return [place[name] for name in taken], [(height, name[:18]) for name, height in place.items()]
    low, high = min(numbers), max(numbers)
    if low == high:
        return [0.5] * len(numbers), [(0.5, f"{low:.3g}")]
    if axis.log and low > 0:
        return [log(value / low) / log(high / low) for value in numbers], [
            (share, f"{low * (high / low) ** share:.3g}") for share in (0.0, 0.5, 1.0)
        ]
    return [(value - low) / (high - low) for value in numbers], [
        (share, f"{low + share * (high - low):.3g}") for share in (0.0, 0.5, 1.0)
    ]


def _broken(name: str) -> str:
    """A dotted path over several lines."""
    return name.removeprefix("stages.").replace(".", "\n")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # The object interface with its own canvas: no window system, nothing global.
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise DependencyError("plots need the library 'matplotlib': pip install matplotlib") from error
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _save(figure: Any, axis: Any, path: Path, title: str) -> Path:
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_axisbelow(True)
    figure.suptitle(title, fontsize=11, color=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
    return path
