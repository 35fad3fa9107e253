"""`reproduction.html`: every reproduced table of a folder on one page without outside links."""

import base64
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from unictokens import __version__
from unictokens.atomic import write_bytes
from unictokens.errors import StorageError
from unictokens.report.findings import TABLE_FILE, Cell, Finding, Findings, Line, absences, load_findings
from unictokens.report.pictures import picture
from unictokens.report.style import STYLE

log = logging.getLogger(__name__)

PAGE_FILE = "reproduction.html"
PLOT_FILE = "plot.png"
PICTURES = "pictures"
OVERLAYS, CAPTIONS = "attention", "captions.json"
MORE_STYLE = """
.plot { max-width:100%; border-radius:10px; background:#fff; margin:14px 0 4px } td.paper,th.paper { color:var(--soft) }
.claims { list-style:none; padding:0 } .claims li { margin:7px 0 } .claims .badge { margin-right:8px; white-space:nowrap }
.results { font-size:13.5px } .results td,.results th { white-space:nowrap; padding-right:16px } .results td small { color:var(--soft) }
.notes { font-size:13px; color:var(--soft) } .notes li { margin:3px 0 }
"""


def write_page(root: Path) -> Path:
    """Write the page of all tables below `root`/tables; returns its path.

    A table that cannot be read is named on the page. Raises StorageError when there is none, or the disk refuses.
    """
    folders = sorted(path.parent for path in (root / "tables").glob(f"*/{TABLE_FILE}"))
    if not folders:
        raise StorageError(f"'{root}' holds no reproduced tables: reproduce one first")
    path = root / PAGE_FILE
    write_bytes(path, _page(folders).encode())
    return path


def _page(folders: Sequence[Path]) -> str:
    found: list[tuple[Path, Findings]] = []
    damaged: list[str] = []
    for folder in folders:
        try:
            found.append((folder, load_findings(folder)))
        except StorageError as error:
            log.warning("%s", error)
            damaged.append(f'<p class="error">{escape(str(error))}</p>')
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    sections = "".join(_section(folder, findings) for folder, findings in found)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>UniCTokens: findings reproduced</title><style>{STYLE}{MORE_STYLE}</style></head><body><main>"
        f'<h1>Findings of the paper, reproduced</h1><p class="soft">arXiv 2505.14671; {now}</p>'
        f"{_tiles([findings for _, findings in found])}{''.join(damaged)}{sections}"
        f"<footer>unictokens {escape(__version__)}</footer></main></body></html>\n"
    )


def _tiles(tables: Sequence[Findings]) -> str:
    claims = [finding for table in tables for finding in table.findings]
    numbers = [
        (len(tables), "tables"),
        (sum(each.holds is True for each in claims), "claims hold"),
        (sum(each.holds is False for each in claims), "do not hold"),
        (sum(each.holds is None for each in claims), "not measured"),
    ]
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{number}</b><span>{word}</span></div>' for number, word in numbers)
        + "</div>"
    )


def _section(folder: Path, findings: Findings) -> str:
    parts = [
        f'<div class="head"><h2>{escape(findings.title)}</h2><span class="soft">{escape(findings.source)}</span></div>',
        _made(findings.settings),
        _claims(findings.findings),
        _plot(folder / PLOT_FILE, findings.title),
        _results(findings),
        _pictures(folder),
        _overlays(folder),
        _notes(findings),
    ]
    return f'<section class="card" id="{escape(findings.table)}">{"".join(parts)}</section>'


def _made(settings: dict[str, Any]) -> str:
    """How the numbers came about, in a line."""
    said = ", ".join(f"{escape(str(name))}: {escape(_short(value))}" for name, value in settings.items() if value)
    return f'<p class="soft note">{said}</p>' if said else ""


def _claims(claims: Sequence[Finding]) -> str:
    if not claims:
        return ""
    kinds = {True: "finished", False: "failed", None: ""}
    items = "".join(
        f'<li><span class="badge {kinds[each.holds]}">{each.verdict}</span>{escape(each.claim)} '
        f'<span class="soft">({escape(each.said)})</span></li>'
        for each in claims
    )
    return f'<h3>Claims</h3><ul class="claims">{items}</ul>'


def _plot(path: Path, title: str) -> str:
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img class="plot" alt="{escape(title)}" src="data:image/png;base64,{data}">'


def _results(findings: Findings) -> str:
    head = "<th></th>"
    for column in findings.columns:
        head += f"<th>{escape(column)}</th>" + ('<th class="paper">paper</th>' if findings.paper_has(column) else "")
    rows = "".join(f"<tr><td>{escape(line.name)}</td>{_cells(findings, line)}</tr>" for line in findings.lines)
    return f'<h3>Table</h3><div class="scroll"><table class="results"><tr>{head}</tr>{rows}</table></div>'


def _cells(findings: Findings, line: Line) -> str:
    made = ""
    for column in findings.columns:
        cell = line.cells[column]
        made += f'<td class="num" title="{escape(_title(cell))}">{_number(cell)}</td>'
        if findings.paper_has(column):
            made += f'<td class="num paper">{"" if cell.paper is None else f"{cell.paper:g}"}</td>'
    return made


def _number(cell: Cell) -> str:
    if cell.mean is None:
        return '<span class="soft">n/a</span>'
    return f"{cell.mean:.3f}" + ("" if cell.half is None else f" <small>± {cell.half:.3f}</small>")


def _title(cell: Cell) -> str:
    if cell.mean is None:
        return cell.why
    return f"{cell.concepts} concepts, {cell.values} values" + (f"; {cell.why}" if cell.why else "")


def _pictures(folder: Path) -> str:
    """Drawings kept as pictures/<variant>/<concept>-<number>.png, in the order of their folders' names."""
    rows = ""
    for home in sorted((folder / PICTURES).glob("*")):
        shown = "".join(picture(file, file.stem.rpartition("-")[0], "small") for file in sorted(home.glob("*.png")))
        rows += f'<div><div class="row tight">{shown}</div><p class="soft note">{escape(_words(home.name))}</p></div>'
    return f'<h3>"A photo of ..." with the same seeds</h3><div class="row drawings">{rows}</div>' if rows else ""


def _overlays(folder: Path) -> str:
    """Attention overlays, which attention/captions.json lists by row with a caption each."""
    path = folder / OVERLAYS / CAPTIONS
    if not path.is_file():
        return ""
    try:
        rows: dict[str, dict[str, str]] = json.loads(path.read_bytes())
        shown = "".join(
            f'<p class="soft note">{escape(title)}</p><div class="row">'
            + "".join(picture(path.parent / file, caption) for file, caption in files.items())
            + "</div>"
            for title, files in rows.items()
        )
    except (OSError, ValueError, AttributeError) as error:
        log.warning("'%s' is damaged: %s", path, error)
        return ""
    return f"<h3>Where the concept looks in a photo</h3>{shown}"


def _words(name: str) -> str:
    """`03-stage 2` without the number that orders it."""
    number, _, rest = name.partition("-")
    return rest if number.isdigit() else name


def _notes(findings: Findings) -> str:
    said = [*findings.notes, *(f"{line.name}: {line.note}" for line in findings.lines if line.note)]
    absent = absences(findings)
    parts = "".join(f"<li>{escape(note)}</li>" for note in said)
    holes = "".join(f"<li>{escape(reason)}</li>" for reason in absent)
    return (f'<h3>Notes</h3><ul class="notes">{parts}</ul>' if parts else "") + (
        f'<h3>Absent</h3><ul class="notes">{holes}</ul>' if holes else ""
    )


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 120 else text[:117] + "..."
