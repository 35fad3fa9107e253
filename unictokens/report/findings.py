"""A reproduced table as it is kept: what was measured beside what the paper says, and whether each claim holds."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from unictokens.atomic import storage_error, write_bytes, write_json
from unictokens.errors import StorageError

TABLE_FILE = "table.json"
FORMAT = 1
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A mean over concepts with half its 95 % interval (None for one concept); or, with `mean` None, the reason in `why`.

    values  how many numbers it is of, seeds counted
    paper   what the paper has there
    """

    __pydantic_config__ = STRICT
    mean: float | None = None
    half: float | None = None
    concepts: int = 0
    values: int = 0
    why: str = ""
    paper: float | None = None

    @property
    def text(self) -> str:
        """The cell for people: `0.812 ± 0.031`, or n/a."""
        if self.mean is None:
            return "n/a"
        return f"{self.mean:.3f}" + ("" if self.half is None else f" ± {self.half:.3f}")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One variant. `x`, `series`, `short` are its place, line and name on a plot; `holes` are failures."""

    __pydantic_config__ = STRICT
    name: str
    note: str = ""
    cells: dict[str, Cell] = field(default_factory=dict)
    x: float | None = None
    series: str = ""
    short: str = ""
    holes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim and its verdict: it holds, it does not, or (None) nobody knows.

    undecided  there are numbers, but their interval has both in it
    """

    __pydantic_config__ = STRICT
    claim: str
    holds: bool | None
    said: str
    undecided: bool = False

    @property
    def verdict(self) -> str:
        """In a word or two."""
        return {True: "holds", False: "does not hold", None: "undecided" if self.undecided else "not measured"}[
            self.holds
        ]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """How a table is drawn: a panel of bars per column, lines over the variants' `x`, or columns against the first one."""

    __pydantic_config__ = STRICT
    kind: Literal["bars", "lines", "scatter"]
    columns: tuple[str, ...]
    x_label: str = ""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """One table, reproduced. `values` has every number: variant, column, concept, one per seed."""

    __pydantic_config__ = STRICT
    table: str
    title: str
    source: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    findings: tuple[Finding, ...]
    plot: Plot
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    format: int = FORMAT

    def paper_has(self, column: str) -> bool:
        """Whether the paper has any number in a column."""
        return any(line.cells[column].paper is not None for line in self.lines if column in line.cells)


def save_findings(findings: Findings, folder: Path) -> list[Path]:
    """Write table.json, table.csv and table.md; returns their paths. Raises StorageError."""
    paths = [folder / TABLE_FILE, folder / "table.csv", folder / "table.md"]
    write_json(paths[0], asdict(findings))
    write_bytes(paths[1], to_csv(findings).encode())
    write_bytes(paths[2], to_markdown(findings).encode())
    return paths


def load_findings(folder: Path) -> Findings:
    """Read table.json. Raises StorageError when it is missing, damaged or of another format."""
    path = folder / TABLE_FILE
    try:
        return TypeAdapter(Findings).validate_python(json.loads(path.read_bytes()))
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StorageError(
            f"'{path}' is damaged ({where}: {first['msg'].lower()}): reproduce the table again"
        ) from error
    except ValueError as error:
        raise StorageError(f"'{path}' is damaged ({error}): reproduce the table again") from error


def to_csv(findings: Findings) -> str:
    """A line per variant and column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["variant", "column", "mean", "half_95", "concepts", "values", "paper", "why_absent"])
    for line in findings.lines:
        for column in findings.columns:
            cell = line.cells[column]
            numbers = [_number(cell.mean), _number(cell.half), cell.concepts, cell.values, _number(cell.paper)]
            writer.writerow([line.name, column, *numbers, cell.why])
    return text.getvalue()


def to_markdown(findings: Findings) -> str:
    """Ours beside the paper's, the claims, the notes."""
    head, rule = ["variant"], ["---"]
    for column in findings.columns:
        head += [column, *(["paper"] if findings.paper_has(column) else [])]
    rule += ["---:"] * (len(head) - 1)
    rows = [_row(head), _row(rule), *(_row(_cells(findings, line)) for line in findings.lines)]
    parts = [f"# {findings.title}", findings.source + ".", "\n".join(rows)]
    if findings.findings:
        claims = [f"- **{each.verdict}**: {each.claim} ({each.said})" for each in findings.findings]
        parts += ["## Claims", "\n".join(claims)]
    notes = [*findings.notes, *(f"{line.name}: {line.note}" for line in findings.lines if line.note)]
    if notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    absent = absences(findings)
    if absent:
        parts += ["## Absent", "\n".join(f"- {reason}" for reason in absent)]
    return "\n\n".join(parts) + "\n"


def absences(findings: Findings) -> list[str]:
    """Why cells are empty or of fewer values, each reason once."""
    found: dict[str, list[str]] = {}
    for line in findings.lines:
        for column in findings.columns:
            if line.cells[column].why:
                found.setdefault(f"{column}: {line.cells[column].why}", []).append(line.name)
    said = [f"{reason} ({_some(names)})" for reason, names in found.items()]
    return said + [f"{line.name}: {hole}" for line in findings.lines for hole in line.holes]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _cells(findings: Findings, line: Line) -> list[str]:
    made = [line.name]
    for column in findings.columns:
        cell = line.cells[column]
        made.append(cell.text)
        if findings.paper_has(column):
            made.append("" if cell.paper is None else f"{cell.paper:g}")
    return made


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
