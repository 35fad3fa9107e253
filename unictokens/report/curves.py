"""Loss curves as inline SVG: one small chart per task, epochs of all stages side by side."""

from collections.abc import Sequence
from html import escape

from unictokens.report.gather import EpochLosses

WIDTH, HEIGHT = 420, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 30, 26
TICKS = 4


def curve(history: Sequence[EpochLosses], name: str) -> str:
    """The loss `name` over all epochs as an SVG element; empty when no epoch has it.

    Stages that do not have this loss leave a gap, so that all charts of a concept share their horizontal axis.
    """
    values = [record.losses[name] for record in history if name in record.losses]
    if not values:
        return ""
    low, high = _range(values)
    step = (WIDTH - LEFT - RIGHT) / len(history)

    def x(at: int) -> float:
        return LEFT + step * (at + 0.5)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)} loss per epoch">']
    parts += _stages(history, step)
    for tick in range(TICKS + 1):
        value = low + (high - low) * tick / TICKS
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y(value) + 3.5:.1f}" text-anchor="end">{value:.3g}</text>')
    for run in _runs(history, name):
        points = " ".join(f"{x(at):.1f},{y(history[at].losses[name]):.1f}" for at in run)
        parts.append(f'<polyline class="line {escape(name)}" points="{points}"/>')
    for at, record in enumerate(history):
        if name in record.losses:
            told = f"{record.stage}, epoch {record.epoch}: {record.losses[name]:.4f}"
            place = f'cx="{x(at):.1f}" cy="{y(record.losses[name]):.1f}"'
            parts.append(f'<circle class="dot {escape(name)}" {place} r="2.6"><title>{escape(told)}</title></circle>')
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">epoch</text>'
    )
    parts.append("</svg>")
    return "".join(parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or max(abs(high), 1.0) * 0.05
    return max(0.0, low - margin) if low >= 0 else low - margin, high + margin


def _stages(history: Sequence[EpochLosses], step: float) -> list[str]:
    """A labelled band behind each stage."""
    parts = []
    for number in dict.fromkeys(record.number for record in history):
        mine = [at for at, record in enumerate(history) if record.number == number]
        left, width = LEFT + step * mine[0], step * len(mine)
        shade = "band odd" if number % 2 else "band"
        parts.append(
            f'<rect class="{shade}" x="{left:.1f}" y="{TOP - 20}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM + 20}"/>'
        )
        label = escape(history[mine[0]].stage)
        parts.append(
            f'<text class="stage" x="{left + width / 2:.1f}" y="{TOP - 7}" text-anchor="middle">{label}</text>'
        )
    return parts


def _runs(history: Sequence[EpochLosses], name: str) -> list[list[int]]:
    """Consecutive epochs of one stage that have the loss: pieces of line that do not bridge stages."""
    runs: list[list[int]] = []
    for at, record in enumerate(history):
        if name not in record.losses:
            continue
        if runs and runs[-1][-1] == at - 1 and history[at - 1].number == record.number:
            runs[-1].append(at)
        else:
            runs.append([at])
    return runs
