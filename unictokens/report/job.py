"""The whole page: an overview of all concepts, then each of them."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from unictokens import __version__
from unictokens.atomic import write_bytes
from unictokens.report.concept import badge, final_previews, section, status
from unictokens.report.gather import ConceptStory, OutputStory, gather
from unictokens.report.pictures import thumbnail
from unictokens.report.style import STYLE

log = logging.getLogger(__name__)

REPORT_FILE = "report.html"
CONCEPTS_IN_FULL = 50
"""Beyond these, concepts have their row in the overview only: a page of thousands would not open."""


def write_report(out: Path, data: Path | None = None) -> Path:
    """Write `report.html` into an output folder; returns its path.

    data  the dataset, for photos and sentences; without it the page has neither
    Raises StorageError when there is nothing to report, a file is damaged or the disk refuses.
    """
    path = out / REPORT_FILE
    write_bytes(path, page(gather(out, data)).encode())
    return path


def page(story: OutputStory) -> str:
    """The page as HTML with everything inside."""
    full = story.concepts[:CONCEPTS_IN_FULL]
    left_out = len(story.concepts) - len(full)
    note = f'<p class="soft">{left_out} more concepts are in the table above only.</p>' if left_out else ""
    name = str(story.summary.get("job") or story.root.name)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>UniCTokens: {escape(name)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>Learned concepts</h1><p class="soft">{escape(name)}, {now}</p>'
        f"{_tiles(story)}{_overview(story.concepts)}{''.join(section(one) for one in full)}{note}"
        f"<footer>unictokens {escape(__version__)}</footer></main></body></html>\n"
    )


def _tiles(story: OutputStory) -> str:
    ends = [status(one) for one in story.concepts]
    published = sum(end in ("finished", "published before") for end in ends)
    tiles = [(str(len(ends)), "concepts")]
    if story.summary:
        tiles += [(str(published), "published"), (str(ends.count("failed")), "failed")]
        tiles += [(_duration(float(story.summary["seconds"])), "wall time")]
    steps = sum(record.seconds for one in story.concepts for record in one.history)
    if steps:
        tiles.append((_duration(steps), "in training steps"))
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{a}</b><span>{b}</span></div>' for a, b in tiles)
        + "</div>"
    )


def _overview(stories: Sequence[ConceptStory]) -> str:
    names = [name for name in ("understanding", "generation") if any(name in _last(one) for one in stories)]
    head = "".join(f"<th>{name} loss</th>" for name in names)
    measured = any(one.recognised for one in stories)
    head += "<th>recognition (without tokens)</th>" if measured else ""
    rows = "".join(_row(one, names, measured) for one in stories)
    return (
        '<section class="card"><h2>Overview</h2><div class="scroll"><table>'
        f"<tr><th>concept</th><th>photos</th><th>drawn at the end</th><th>status</th>{head}<th>training</th></tr>"
        f"{rows}</table></div></section>"
    )


def _row(story: ConceptStory, names: Sequence[str], measured: bool) -> str:
    photos = "".join(thumbnail(path) for path in (story.record.photos[:3] if story.record else ()))
    drawn = "".join(thumbnail(one.file) for one in final_previews(story)[:3])
    last = _last(story)
    losses = "".join(f'<td class="num">{last[name]:.3f}</td>' if name in last else "<td></td>" for name in names)
    if measured:
        known = story.recognised
        losses += f'<td class="num">{known.learned:.2f} ({known.bare:.2f})</td>' if known else "<td></td>"
    seconds = sum(record.seconds for record in story.history)
    link = f'<a href="#{escape(story.concept)}">{escape(story.concept)}</a>'
    time = f'<td class="num">{_duration(seconds) if seconds else ""}</td>'
    return f"<tr><td>{link}</td><td>{photos}</td><td>{drawn}</td><td>{badge(story)}</td>{losses}{time}</tr>"


def _last(story: ConceptStory) -> dict[str, float]:
    """The last value of each loss."""
    found: dict[str, float] = {}
    for record in story.history:
        found.update(record.losses)
    return found


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
