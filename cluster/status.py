"""`python -m cluster status`: a job at a glance, from its folder, here or on a cluster."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cluster.remote import ask
from cluster.run_status import RunStatus
from cluster.snapshot import JobState, LaneView, Snapshot, Watched
from cluster.which import add_job, here, there, words_for
from unictokens.cli.progress import losses_text, make_console
from unictokens.cli.shell import FAILED, INTERRUPTED, OK
from unictokens.errors import ClusterError
from unictokens.memory import in_words

LOOK_SECONDS = 2.0
SHOWN_RUNS = 30
STYLES: dict[JobState, str] = {
    "running": "green",
    "stopping": "yellow",
    "silent": "yellow",
    "interrupted": "red",
    "stopped": "yellow",
    "failed": "red",
    "finished": "green",
}
RUN_STYLES = {"failed": "red", "running": "green", "finished": "dim"}
EXPLAINED: dict[JobState, str] = {
    "stopping": "concepts end after their epoch",
    "silent": "nothing was heard of its driver for {age:.0f} s; it may be dead",
    "interrupted": "its driver died: python -m cluster train --resume {job} continues",
    "stopped": "python -m cluster train --resume {job} continues",
    "failed": "python -m cluster retry {job} tries what failed again",
}
"""What a reader may wonder about a state."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `status`."""
    add_job(parser)
    parser.add_argument("--watch", action="store_true", help="look again every two seconds, until the job is over")
    parser.add_argument("--json", action="store_true", help="one line of JSON (with --watch: one for every look)")
    parser.add_argument("--all", action="store_true", help=f"all concepts, not the {SHOWN_RUNS} most interesting")


def run(arguments: argparse.Namespace) -> int:
    """Show it. Exit code 1 when concepts of it failed, 130 when it ended before its end; a job under way is well."""
    last = None
    seen = _from_cluster(arguments) if arguments.address is not None else _from_folder(arguments)
    console = make_console()
    if arguments.json:
        for last in seen:
            print(last.to_json(), flush=True)
    elif arguments.watch and console.is_terminal:
        last = _live(console, seen, arguments.all)
    else:
        for last in seen:
            console.print(render(last, arguments.all))
    return OK if last is None else code(last)


def code(snapshot: Snapshot) -> int:
    """The exit code that says how a job stands."""
    if snapshot.state in ("interrupted", "stopped"):
        return INTERRUPTED
    return FAILED if snapshot.counts.get("failed") or snapshot.refused else OK


def _from_folder(arguments: argparse.Namespace) -> Iterator[Snapshot]:
    watched = Watched(here(arguments))
    while True:
        snapshot = watched.look()
        yield snapshot
        if snapshot.over or not arguments.watch:
            return
        time.sleep(LOOK_SECONDS)


def _from_cluster(arguments: argparse.Namespace) -> Iterator[Snapshot]:
    """The same, asked of a cluster's head. A driver that has not begun its job yet has no folder to look at."""
    server, attempt = there(arguments)
    while attempt.status == "PENDING" and arguments.watch:
        time.sleep(LOOK_SECONDS)
        attempt = server.attempt(attempt.id)
    if attempt.status == "PENDING":
        raise ClusterError(
            f"'{attempt.id}' waits for the cluster to start its driver: look again later, or with --watch"
        )
    found: list[str] = []
    hear: Callable[[str], object] = found.append
    while True:
        found.clear()
        ask(server, words_for("status", attempt, "--json"), hear)
        lines = [line for line in found if line.startswith("{")]
        if not lines:
            reason = next((line for line in reversed(found) if line.startswith("error: ")), "it said nothing")
            raise ClusterError(f"'{attempt.id}' is {attempt.status.lower()}, and the cluster cannot say more: {reason}")
        snapshot = Snapshot.from_json(lines[-1])
        yield snapshot
        if snapshot.over or not arguments.watch:
            return
        time.sleep(LOOK_SECONDS)


def _live(console: Console, seen: Iterable[Snapshot], everything: bool) -> Snapshot | None:
    last = None
    with Live(console=console, auto_refresh=False) as live:
        for last in seen:
            live.update(render(last, everything), refresh=True)
    return last


def render(snapshot: Snapshot, everything: bool = False) -> RenderableType:
    """The whole picture: a line about the job, a bar, lanes, concepts."""
    parts: list[RenderableType] = [_headline(snapshot), _bar(snapshot)]
    if snapshot.state == "running" and not snapshot.lanes:
        parts.append(
            Text("no lane works yet: each takes some seconds to begin, and a machine that comes first minutes", "dim")
        )
    if snapshot.lanes:
        parts.append(_lanes(snapshot.lanes, {run.name: run.concept for run in snapshot.runs}))
    parts.append(_runs(snapshot, everything))
    for concept, reason in list(snapshot.refused.items())[:SHOWN_RUNS]:
        parts.append(Text(f"{concept}: left out: {reason}", style="red"))
    return Group(*parts)


def _headline(snapshot: Snapshot) -> Text:
    text = Text.assemble((snapshot.job, "bold"), "  ", (snapshot.state, f"bold {STYLES[snapshot.state]}"))
    if snapshot.driver:
        text.append(f"  driven by {snapshot.driver}", style="dim")
    if snapshot.state in EXPLAINED:
        text.append(f"\n{EXPLAINED[snapshot.state].format(job=snapshot.job, age=snapshot.age or 0.0)}")
    return text


def _bar(snapshot: Snapshot) -> Table:
    words = [f"{number} {state}" for state, number in snapshot.counts.items()]
    if snapshot.skipped:
        words.append(f"{snapshot.skipped} learned before")
    if snapshot.remaining is not None:
        words.append(f"about {duration(snapshot.remaining)} to go")
    made = Table.grid(padding=(0, 2))
    made.add_row(ProgressBar(total=1.0, completed=snapshot.done, width=40), f"{snapshot.done:.0%}", ", ".join(words))
    return made


def _lanes(lanes: Iterable[LaneView], concepts: dict[str, str]) -> Table:
    lanes = sorted(lanes, key=lambda lane: lane.lane)
    gpus = any(lane.device_memory for lane in lanes)
    made = Table("lane", "host", *(["GPU memory"] if gpus else []), "memory", "quiet for", "concepts", title="lanes")
    for lane in lanes:
        made.add_row(
            lane.lane,
            f"{lane.host} ({lane.process})",
            *([in_words(lane.device_memory)] if gpus else []),
            in_words(lane.memory) if lane.memory else "",
            f"{lane.idle:.0f} s",
            _several([concepts.get(run, run) for run in lane.runs]),
        )
    return made


def _runs(snapshot: Snapshot, everything: bool) -> Table:
    chosen = snapshot.runs if everything else interesting(snapshot.runs)
    title = (
        "concepts" if len(chosen) == len(snapshot.runs) else f"{len(chosen)} of {len(snapshot.runs)} concepts (--all)"
    )
    columns: dict[str, list[str | Text]] = {
        "concept": [run.concept for run in chosen],
        "state": [Text(run.state, style=RUN_STYLES.get(run.state, "")) for run in chosen],
        "stage": [run.stage for run in chosen],
        "epoch": [f"{run.epoch}/{run.epochs}" if run.epochs else "" for run in chosen],
        "losses": [losses_text(run.losses) for run in chosen],
        "lane": [run.lane if run.state == "running" else "" for run in chosen],
        "tries": [str(run.attempts) if run.attempts > 1 else "" for run in chosen],
        "outcome": [Text(f"version {run.version}" if run.version else run.error) for run in chosen],
    }
    # What says nothing of any concept takes no place.
    told = {name: cells for name, cells in columns.items() if any(str(cell) for cell in cells)}
    made = Table(*told, title=title)
    for cells in zip(*told.values(), strict=True):
        made.add_row(*cells)
    return made


def interesting(runs: Iterable[RunStatus]) -> tuple[RunStatus, ...]:
    """At most `SHOWN_RUNS` of them, in their order: first what fails and runs, then what ended last, then what waits."""
    runs = tuple(runs)
    ranks = {"failed": 0, "running": 1, "stopped": 2, "finished": 3, "waiting": 4}
    chosen = sorted(range(len(runs)), key=lambda at: (ranks[runs[at].state], at))[:SHOWN_RUNS]
    return tuple(runs[at] for at in sorted(chosen))


def _several(words: list[str], most: int = 8) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def duration(seconds: float) -> str:
    """As people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return str(timedelta(seconds=round(seconds))).removesuffix(":00") if seconds >= 7200 else f"{seconds / 60:.0f} min"
