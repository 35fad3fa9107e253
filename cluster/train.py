"""`python -m cluster train`: plan, run and sum up a job."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.copies import report
from cluster.driver import View, Watcher
from cluster.engines import EngineSettings, add_engine, read_engine
from cluster.folder import JobFolder
from cluster.forecast import fitted
from cluster.job import resume_job, run_job
from cluster.job_settings import STALL_SECONDS, TIMEOUT_SECONDS, WIDTH, JobSettings, settings_of
from cluster.plan import JobPlan, plan_job
from cluster.summary import Summary
from unictokens.cli.options import OUT, add_config, read_config
from unictokens.cli.progress import Bars, losses_text, make_console
from unictokens.cli.shell import FAILED, INTERRUPTED, OK
from unictokens.config import RunConfig
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError
from unictokens.learn import Output
from unictokens.storage.base import Place, absolute, parse_place
from unictokens.tracking.address import OFF, SQLITE, shown, sqlite_uri

SHOWN_BARS = 12
RUNS = ""
"""What --resume means without the name of a job."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `train`."""
    parser.add_argument("--data", type=Path, help="dataset folder")
    parser.add_argument("--concepts", default="all", help="all, or names with commas (all)")
    parser.add_argument(
        "--out",
        type=parse_place,
        default=OUT,
        help="output folder, on a path that all nodes share, or a URL such as s3://bucket/prefix (out)",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const=RUNS,
        metavar="JOB",
        help="continue runs that were begun before; with the name of a job, all of it, as it was asked for",
    )
    parser.add_argument("--lanes", type=int, default=0, help="workers (one per GPU; without, one per core, at most 4)")
    parser.add_argument("--min-lanes", type=int, default=1, help="a job does not go on with fewer workers (1)")
    parser.add_argument(
        "--max-lanes", type=int, default=0, help="most workers, of a cluster that may grow (as --lanes)"
    )
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_SECONDS, metavar="S", help="to wait for room for --min-lanes (600)"
    )
    parser.add_argument(
        "--stall",
        type=float,
        default=STALL_SECONDS,
        metavar="S",
        help="a worker that stands still so long is ended (900)",
    )
    parser.add_argument("--pack", type=int, default=WIDTH, help=f"concepts that a worker trains together ({WIDTH})")
    parser.add_argument(
        "--tracking-uri",
        default="",
        metavar="URI",
        help=f"MLflow (OUT/mlflow.db by default, nobody where OUT is a URL); '{OFF}' for none",
    )
    parser.add_argument(
        "--track-later",
        action="store_true",
        help="begin even where MLflow does not answer; what it misses waits on disk",
    )
    add_config(parser)
    add_engine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Plan, train, sum up. Exit code 1 when a concept failed (its reason is in the summary), 130 when it was stopped."""
    console = make_console()
    if arguments.resume:
        return _code(resume(console, arguments.out, arguments.resume))
    if arguments.data is None:
        raise ConfigError("--data is missing: name the dataset folder, or a job to continue with --resume JOB")
    config = read_config(arguments)
    summary = train(
        console,
        arguments.data,
        arguments.concepts,
        config,
        arguments.out,
        tracking_uri=arguments.tracking_uri,
        track_later=arguments.track_later,
        lanes=arguments.lanes,
        min_lanes=arguments.min_lanes,
        max_lanes=arguments.max_lanes,
        stall=arguments.stall,
        timeout=arguments.timeout,
        width=arguments.pack,
        engine=read_engine(arguments, config),
        resume=arguments.resume is not None,
    )
    return _code(summary)


def _code(summary: Summary) -> int:
    if summary.failed:
        return FAILED
    return INTERRUPTED if summary.unfinished else OK


def resume(console: Console, out: Place, name: str) -> Summary:
    """Continue the job `name` of `out`, whose driver died or was stopped, as it was asked for."""
    out = absolute(out)
    settings = settings_of(JobFolder(out, name))
    with Bars(console, 2) as bars:
        summary = resume_job(name, settings, _watcher(bars))
    console.print(table(summary))
    console.print(f"report: {report(Output(out), settings.data, len(summary.rows))}", markup=False, highlight=False)
    return summary


def train(
    console: Console,
    data: Path,
    concepts: str,
    config: RunConfig,
    out: Place,
    *,
    tracking_uri: str = "",
    track_later: bool = False,
    lanes: int = 0,
    min_lanes: int = 1,
    max_lanes: int = 0,
    stall: float = STALL_SECONDS,
    timeout: float = TIMEOUT_SECONDS,
    width: int = WIDTH,
    engine: EngineSettings | None = None,
    resume: bool = False,
) -> Summary:
    """Run a job and show it on `console`; the summary and `report.html` are in `out`.

    lanes ...     as in `JobSettings`
    engine        the plain one by default
    tracking_uri  an MLflow address, "" for a database file in `out` (for nobody where that is a URL), "off" for none
    """
    catalog = Catalog.open(data)
    plan = plan_job(catalog, catalog.select(concepts), config, Output(out), resume)
    for refusal in plan.refused:
        console.print(f"{refusal.concept}: left out: {refusal.reason}", style="red", markup=False)
    uri = tracked_by(console, tracking_uri, out)
    Output(out).prepare()
    engine = engine or EngineSettings.of(config)
    if lanes < 0:
        raise ConfigError(f"--lanes {lanes} is negative: use 0 for one per GPU, or a number")
    if plan.runs:
        console.print(_opening(plan, config))
        names = [run.concept for run in plan.runs]
        engine, width = fitted(console, config, engine, catalog, names, lanes, width)
    settings = JobSettings(
        data=data.absolute(),
        output=absolute(out),
        engine=engine,
        lanes=lanes,
        min_lanes=min_lanes,
        max_lanes=max_lanes,
        stall=stall,
        timeout=timeout,
        width=width,
        tracking_uri=uri,
        track_later=track_later,
    )
    settings.check()
    with Bars(console, len(plan.runs)) as bars:
        summary = run_job(plan, settings, _watcher(bars))
    console.print(table(summary))
    if uri is not None:
        console.print(f"tracked in {shown(uri)} (look with: mlflow ui --backend-store-uri URI)")
    console.print(f"report: {report(Output(out), data, len(summary.rows))}", markup=False, highlight=False)
    return summary


def tracked_by(console: Console, asked: str, out: Place) -> str | None:
    """The address of MLflow, None for nobody. Raises ConfigError for a file of this machine where the output is elsewhere."""
    if asked == OFF:
        return None
    if isinstance(out, Path):
        return asked or sqlite_uri(out)
    if asked.startswith(SQLITE):
        raise ConfigError(
            f"--tracking-uri '{asked[:200]}' is a file of this machine, which the nodes that write to '{out}' do not see: "
            f"name a server, or send it later with python -m cluster track {out}"
        )
    if not asked:
        console.print(
            f"no server is told (--tracking-uri names one): what happens is kept beside each run, and "
            f"python -m cluster track {out} --tracking-uri URI sends it later",
            markup=False,
            highlight=False,
        )
    return asked or None


def _opening(plan: JobPlan, config: RunConfig) -> str:
    stages = ", ".join(f"{stage} {epochs} epochs" for stage, epochs in plan.runs[0].stages)
    before = f" ({len(plan.skipped)} learned before)" if plan.skipped else ""
    return f"{plan.name}: {len(plan.runs)} concepts{before} on backbone {config.backbone}: {stages}"


def _watcher(bars: Bars) -> Watcher:
    over: set[str] = set()

    def watch(view: View) -> None:
        for status in view.changed:
            if status.state == "running" and status.stage:
                note = f"epoch {status.epoch}/{status.epochs}  {losses_text(status.losses)}"
                bars.show(status.concept, status.done, status.stage, note)
            elif status.over and status.name not in over:
                over.add(status.name)
                end = {"finished": f"published v{status.version}", "failed": f"failed: {status.error}"}
                bars.show(status.concept, status.done, end.get(status.state, status.state), "")
                if view.total > SHOWN_BARS:
                    bars.hide(status.concept)
        finished, failed = (view.counts.get(state, 0) for state in ("finished", "failed"))
        bars.count(
            view.done * view.total, f"{finished} published" + (f", {failed} failed" if failed else ""), view.total
        )

    return watch


def table(summary: Summary) -> Table:
    """A row per concept."""
    made = Table(
        "concept", "status", "stage", "losses", "seconds", "version", title=f"{summary.job}: {summary.seconds} s"
    )
    for row in summary.rows:
        made.add_row(
            row.concept,
            f"[red]{row.status}[/]" if row.status == "failed" else row.status,
            f"{row.stage} {row.epoch}" if row.stage else "",
            losses_text(row.losses) or row.error.replace("[", "\\["),
            f"{row.seconds:.1f}" if row.seconds else "",
            f"v{row.version}" if row.version else "",
        )
    return made
