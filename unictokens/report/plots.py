"""Plots of reproduced tables as PNG files. Only this file and `sweep_plots` import matplotlib."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unictokens.atomic import write_bytes
from unictokens.errors import DependencyError
from unictokens.report.findings import Cell, Findings, Line

OURS, PAPER, INK, GRID = "#3b6fe0", "#e07b28", "#1c2330", "#e4e7ec"
SERIES = (OURS, "#178a50", "#8a4fd0")
PANEL_INCHES = (3.8, 3.2)
DPI = 130
PAPER_LABEL = "the paper's (Show-o, photographs)"
CAPS = 3
PER_ROW = 3
"""Panels beside each other."""


def draw(findings: Findings, path: Path) -> bool:
    """Draw a table's plot; False when none of its columns has a number of ours.

    Raises DependencyError without matplotlib, StorageError when the disk refuses.
    """
    kinds = {"bars": _bars, "lines": _lines, "scatter": _scatter}
    columns = [column for column in findings.plot.columns if any(_has(line, column) for line in findings.lines)]
    if findings.plot.kind == "scatter" and findings.plot.columns[0] not in columns:
        return False
    shown = columns[1:] if findings.plot.kind == "scatter" else columns
    if not shown:
        return False
    # The object interface with its own canvas: no window system, nothing global.
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise DependencyError("plots need the library 'matplotlib': pip install matplotlib") from error
    width, height = PANEL_INCHES
    tall = height + (0.16 * len(findings.lines) if findings.plot.kind == "bars" else 0.4)
    across = min(PER_ROW, len(shown))
    down = -(-len(shown) // across)
    figure = Figure(figsize=(max(2, across) * width, down * tall), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    for at, (axis, column) in enumerate(zip(axes, shown, strict=False)):
        kinds[findings.plot.kind](axis, findings, column, at % across == 0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_axisbelow(True)
    figure.suptitle(findings.title, fontsize=12, color=INK)
    _legend(figure, list(axes))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
    return True


def _ours(findings: Findings) -> str:
    most = max((cell.concepts for line in findings.lines for cell in line.cells.values()), default=0)
    return f"ours: mean of {most} concept{'s' * (most != 1)}, 95 % interval"


def _bars(axis: Any, findings: Findings, column: str, first: bool) -> None:
    """A bar per variant, from top to bottom; the paper's number as a diamond."""
    lines = findings.lines
    for row, line in enumerate(lines):
        cell = line.cells[column]
        if cell.mean is None:
            axis.annotate("n/a", (0.01, row), va="center", fontsize=8, color="#667085")
        else:
            axis.barh(row, cell.mean, color=OURS, alpha=0.85, height=0.62, label=_ours(findings))
            axis.errorbar(cell.mean, row, xerr=cell.half or 0, color=INK, capsize=CAPS, lw=1.1, fmt="none")
        if cell.paper is not None:
            axis.plot(cell.paper, row, "D", color=PAPER, mec="white", ms=6.5, label=PAPER_LABEL, zorder=4)
    axis.set_yticks(range(len(lines)), [line.name for line in lines] if first else [""] * len(lines))
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.set_xlim(0, _upper(lines, column))
    axis.set_xlabel(f"{column} (0 to 1)")
    axis.grid(axis="x", color=GRID)


def _lines(axis: Any, findings: Findings, column: str, first: bool) -> None:
    """Variants by their `x`, evenly spaced in its order; variants without one are a dashed level."""
    placed = [line for line in findings.lines if line.x is not None]
    at = {line.name: place for place, line in enumerate(placed)}
    ours = [line for line in placed if _has(line, column)]
    means, halves = _columns([line.cells[column] for line in ours])
    places = [at[line.name] for line in ours]
    axis.errorbar(places, means, yerr=halves, fmt="o-", color=OURS, capsize=CAPS, ms=4.5, label=_ours(findings))
    theirs = [line for line in placed if line.cells[column].paper is not None]
    if theirs:
        paper = [line.cells[column].paper for line in theirs]
        axis.plot([at[line.name] for line in theirs], paper, "D--", color=PAPER, ms=5, lw=1, label=PAPER_LABEL)
    for line in findings.lines:
        if line.x is None and _has(line, column):
            axis.axhline(line.cells[column].mean, color="#8a94a6", ls=":", label=f"ours: {line.name}")
    axis.set_xticks(range(len(placed)), [f"{line.x:g}" for line in placed])
    axis.set_ylim(*_window([line.cells[column] for line in findings.lines]))
    axis.set_xlabel(findings.plot.x_label, fontsize=8.5)
    axis.set_ylabel(f"{column} (0 to 1)")
    axis.grid(color=GRID)


def _scatter(axis: Any, findings: Findings, column: str, first: bool) -> None:
    """Variants as points, a column against the plot's first one; a variant of no own series ends every series."""
    across = findings.plot.columns[0]
    usable = [line for line in findings.lines if _has(line, column) and _has(line, across)]
    for number, series in enumerate(dict.fromkeys(line.series for line in usable)):
        points = [line for line in usable if line.series == series]
        xs, x_halves = _columns([line.cells[across] for line in points])
        ys, y_halves = _columns([line.cells[column] for line in points])
        colour = SERIES[number % len(SERIES)]
        axis.errorbar(
            xs,
            ys,
            xerr=x_halves,
            yerr=y_halves,
            fmt="o",
            color=colour,
            capsize=2,
            lw=0.8,
            ms=5,
            label=f"ours, by {series}: mean, 95 % interval",
        )
        for at, (line, x, y, half) in enumerate(zip(points, xs, ys, y_halves, strict=True)):
            up = 1 if at % 2 == 0 else -1  # at the ends of intervals, in turn, where near points keep their names apart
            axis.annotate(
                line.short or line.name,
                (x, min(1.0, max(0.0, y + up * half))),
                xytext=(0, 4 * up),
                textcoords="offset points",
                ha="center",
                va="bottom" if up > 0 else "top",
                fontsize=7.5,
                color=colour,
            )
    axis.set_xlim(*_window([line.cells[across] for line in usable]))
    axis.set_ylim(*_window([line.cells[column] for line in usable]))
    axis.set_xlabel(f"{findings.plot.x_label} (0 to 1)")
    axis.set_ylabel(f"{column} after stage 2")
    axis.grid(color=GRID)


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """One legend for all panels, each thing once."""
    known: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    if known:
        figure.legend(
            known.values(),
            known.keys(),
            loc="outside lower center",
            ncols=min(3, len(known)),
            frameon=False,
            fontsize=8.5,
        )


def _has(line: Line, column: str) -> bool:
    return line.cells[column].mean is not None


def _columns(cells: Sequence[Cell]) -> tuple[list[float], list[float]]:
    return [cell.mean or 0.0 for cell in cells], [cell.half or 0.0 for cell in cells]


def _window(cells: Sequence[Cell]) -> tuple[float, float]:
    """Ends of an axis that shows means, intervals and the paper's numbers, as far as scores of 0 to 1 go."""
    ends = [cell.mean + side * (cell.half or 0.0) for cell in cells if cell.mean is not None for side in (-1, 1)]
    ends += [cell.paper for cell in cells if cell.paper is not None]
    low, high = max(0.0, min(ends)), min(1.0, max(ends))
    room = max(0.02, 0.1 * (high - low))
    return low - room, high + room


def _upper(lines: Sequence[Line], column: str) -> float:
    """The end of a bar panel's axis: 1, or less where all bars are short."""
    cells = [line.cells[column] for line in lines]
    ends = [(cell.mean or 0.0) + (cell.half or 0.0) for cell in cells] + [cell.paper or 0.0 for cell in cells]
    return 1.0 if max(ends) > 0.7 else max(0.1, max(ends) * 1.15)
