"""A finished table goes out: to files and the page, to the terminal, to the tracker."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from unictokens.errors import DependencyError
from unictokens.report.findings import Findings, save_findings
from unictokens.report.plots import draw
from unictokens.report.reproduction import PLOT_FILE, write_page
from unictokens.tracking.base import Tracker


def publish(console: Console, output: Path, findings: Findings, tracker: Tracker) -> Path:
    """Write the table, its plot and the page, and send them to the tracker."""
    folder = output / "tables" / findings.table
    files = save_findings(findings, folder)
    try:
        if draw(findings, folder / PLOT_FILE):
            files.append(folder / PLOT_FILE)
    except DependencyError as error:
        console.print(str(error), style="red", markup=False)
    page = write_page(output)
    _track(tracker, findings, [*files, page])
    return page


def _track(tracker: Tracker, findings: Findings, files: Sequence[Path]) -> None:
    numbers: dict[str, float] = {}
    for line in findings.lines:
        for column, cell in line.cells.items():
            if cell.mean is not None:
                numbers[_key(f"{line.name}/{column}")] = cell.mean
            if cell.half is not None:
                numbers[_key(f"{line.name}/{column}/half_95")] = cell.half
    for finding in findings.findings:
        if finding.holds is not None:
            numbers[_key(f"claim/{finding.claim}")[:200]] = float(finding.holds)
    tracker.params(findings.settings)
    tracker.metrics(0, numbers)
    for file in files:
        tracker.artifact(file)


def _key(name: str) -> str:
    """A name with the signs that MLflow takes."""
    return "".join(sign if sign.isalnum() or sign in " /_-." else "_" for sign in name)


def grid(findings: Findings) -> Grid:
    """The table for a terminal: scores downwards, because variants are fewer than scores or have short names."""
    made = Grid("score", *(line.name for line in findings.lines), title=f"{findings.source}: {findings.title.lower()}")
    for column in findings.columns:
        cells = [line.cells[column] for line in findings.lines]
        made.add_row(column, *(cell.text + ("" if cell.paper is None else f" ({cell.paper:g})") for cell in cells))
    made.caption = "ours with half a 95 % interval, and in brackets the paper's"
    return made
