"""The part of the page about one concept."""

from collections.abc import Sequence
from html import escape

from unictokens.report.curves import curve
from unictokens.report.gather import Answer, ConceptStory, Preview, Shown
from unictokens.report.pictures import picture

PHOTOS_SHOWN = 8
GLIMPSES_SHOWN = 5
MOMENTS = ("early", "late", "final", "region")
LOSSES = ("understanding", "generation", "total")


def section(story: ConceptStory) -> str:
    """Photos, what was asked and drawn, previews by stage and epoch, perception, curves, answers."""
    parts = [
        _head(story),
        _photos(story),
        _shown(story.shown),
        f'<div class="pair">{_previews(story.previews)}{_perception(story)}</div>',
        _curves(story),
        _answers(story.answers),
    ]
    return f'<section class="card" id="{escape(story.concept)}">{"".join(parts)}</section>'


def status(story: ConceptStory) -> str:
    """How the concept ended, in a word."""
    return str(story.row.get("status") or ("trained" if story.history else "begun"))


def badge(story: ConceptStory) -> str:
    """The status as a coloured label."""
    kind = {"finished": "finished", "published before": "finished", "failed": "failed"}.get(status(story), "")
    version = story.row.get("version")
    return f'<span class="badge {kind}">{escape(status(story))}{f" &middot; v{int(version)}" if version else ""}</span>'


def final_previews(story: ConceptStory) -> list[Preview]:
    """The pictures of the last epoch that has any."""
    order = {record.stage: record.number for record in story.history}
    last = max(((order.get(one.stage, -1), one.epoch) for one in story.previews), default=None)
    return [one for one in story.previews if (order.get(one.stage, -1), one.epoch) == last]


def _head(story: ConceptStory) -> str:
    record, error = story.record, str(story.row.get("error") or "")
    said = ""
    if record is not None:
        sentences = " ".join(text for text in (record.info, *record.facts) if text)
        said = f'<p class="soft">{escape(record.cls)} &mdash; {escape(sentences)}</p>'
    failed = f'<p class="error">{escape(error)}</p>' if error else ""
    return f'<div class="head"><h2>&lt;{escape(story.concept)}&gt;</h2>{badge(story)}</div>{said}{failed}'


def _photos(story: ConceptStory) -> str:
    if story.record is None:
        return ""
    shown = "".join(picture(path, "", "small") for path in story.record.photos[:PHOTOS_SHOWN])
    return f'<h3>Training photos</h3><div class="row">{shown}</div>'


def _shown(shown: Sequence[Shown]) -> str:
    asked, drawn = [one for one in shown if one.answer], [one for one in shown if one.pictures]
    parts = []
    if asked:
        parts.append(
            f'<h3>Asked after training</h3><div class="asked">{"".join(_exchange(one) for one in asked)}</div>'
        )
    if drawn:
        groups = "".join(_drawing(one) for one in drawn)
        parts.append(f'<h3>Drawn after training</h3><div class="row drawings">{groups}</div>')
    return "".join(parts)


def _drawing(one: Shown) -> str:
    pictures = "".join(picture(path, "") for path in one.pictures)
    return f'<div><div class="row tight">{pictures}</div><p class="soft note">{escape(one.text)}</p></div>'


def _exchange(one: Shown) -> str:
    photo = picture(one.photo, "", "small") if one.photo else ""
    expected = f'<p class="soft">expected: {escape(one.expected)}</p>' if one.expected else ""
    return (
        f'<div class="exchange">{photo}<div><p class="q">{escape(one.text)}</p>'
        f'<p class="a">{escape(one.answer)}</p>{expected}</div></div>'
    )


def _previews(previews: Sequence[Preview]) -> str:
    """A grid: a column per epoch, grouped by stage; a row per seed."""
    if not previews:
        return ""
    files = {(one.stage, one.epoch, one.number): one.file for one in previews}
    stages = _stage_order(previews)
    columns = [(stage, epoch) for stage in stages for epoch in sorted({p.epoch for p in previews if p.stage == stage})]
    cells = []
    for stage in stages:
        width = sum(1 for column in columns if column[0] == stage)
        cells.append(f'<div class="stage" style="grid-column:span {width}">{escape(stage)}</div>')
    cells += [f'<div class="label">epoch {epoch}</div>' for _, epoch in columns]
    for number in sorted({one.number for one in previews}):
        for stage, epoch in columns:
            file = files.get((stage, epoch, number))
            cells.append(picture(file, "", "small") if file else "<div></div>")
    grid = f'<div class="grid" style="grid-template-columns:repeat({len(columns)},80px)">{"".join(cells)}</div>'
    return f'<div><h3>Previews, same seeds in every epoch</h3><div class="scroll">{grid}</div></div>'


def _stage_order(previews: Sequence[Preview]) -> list[str]:
    # Files do not say which stage came first; their times do.
    first = {one.stage: min(p.file.stat().st_mtime for p in previews if p.stage == one.stage) for one in previews}
    return sorted(first, key=lambda stage: first[stage])


def _perception(story: ConceptStory) -> str:
    glimpses = story.glimpses[:GLIMPSES_SHOWN]
    if not glimpses:
        return ""
    moments = [moment for moment in MOMENTS if any(moment in glimpse.moments for glimpse in glimpses)]
    cells = ""
    for moment in moments:
        cells += f'<div class="label side">{escape(moment)}</div>'
        for glimpse in glimpses:
            cells += picture(glimpse.moments[moment], "", "small") if moment in glimpse.moments else "<div></div>"
    grid = f'<div class="grid" style="grid-template-columns:auto repeat({len(glimpses)},80px)">{cells}</div>'
    note = "drawn by the model and watched; regions decided late start the understanding tokens"
    return f'<div><h3>Perception</h3><div class="scroll">{grid}</div><p class="soft note">{note}</p></div>'


def _curves(story: ConceptStory) -> str:
    charts = [(name, curve(story.history, name)) for name in LOSSES]
    drawn = "".join(f'<div class="chart"><b>{name}</b>{svg}</div>' for name, svg in charts if svg)
    return f'<h3>Losses</h3><div class="charts">{drawn}</div>' if drawn else ""


def _answers(answers: Sequence[Answer]) -> str:
    if not answers:
        return ""
    places = list(dict.fromkeys((answer.stage, answer.epoch) for answer in answers))
    asked = list(dict.fromkeys((answer.question, answer.photo) for answer in answers))
    said = {(a.stage, a.epoch, a.question, a.photo): a.answer for a in answers}
    head = "".join(f"<th>{escape(stage)} {epoch}</th>" for stage, epoch in places)
    rows = "".join(
        f"<tr><td>{escape(question)}{f' <span class=soft>({escape(photo)})</span>' if photo else ''}</td>"
        + "".join(f"<td>{escape(said.get((stage, epoch, question, photo), ''))}</td>" for stage, epoch in places)
        + "</tr>"
        for question, photo in asked
    )
    table = f'<div class="scroll"><table class="answers"><tr><th>question</th>{head}</tr>{rows}</table></div>'
    return f"<h3>Answers while training</h3>{table}"
