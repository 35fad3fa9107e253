"""`python -m cluster train`: plan, run and sum up a job."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.engines import EngineSettings, add_engine, read_engine
from cluster.forecast import fitted
from cluster.job import WIDTH, JobSettings, Watcher, run_job
from cluster.plan import JobPlan, plan_job
from cluster.queue import RunStatus
from cluster.summary import Summary
from unictokens.cli.options import OUT, add_config, read_config
from unictokens.cli.progress import Bars, losses_text, make_console
from unictokens.cli.shell import FAILED, INTERRUPTED, OK
from unictokens.config import RunConfig
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError
from unictokens.learn import Output
from unictokens.report.job import write_report
from unictokens.tracking.mlflow_tracker import shown, sqlite_uri

SHOWN_BARS = 12
OFF = "off"


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `train`."""
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--concepts", default="all", help="all, or names with commas (all)")
    parser.add_argument("--out", type=Path, default=OUT, help="output folder (out)")
    parser.add_argument("--resume", action="store_true", help="continue runs that were begun before")
    parser.add_argument("--lanes", type=int, default=0, help="workers (one per GPU; without, one per core, at most 4)")
    parser.add_argument("--pack", type=int, default=WIDTH, help=f"concepts that a worker trains together ({WIDTH})")
    parser.add_argument(
        "--tracking-uri", default="", metavar="URI", help=f"MLflow (OUT/mlflow.db by default); '{OFF}' for none"
    )
    add_config(parser)
    add_engine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Plan, train, sum up. Exit code 1 when a concept failed; its reason is in the summary."""
    if arguments.lanes < 0:
        raise ConfigError(f"--lanes {arguments.lanes} is negative: use 0 for one per GPU, or a number")
    config = read_config(arguments)
    summary = train(
        make_console(),
        arguments.data,
        arguments.concepts,
        config,
        arguments.out,
        tracking_uri=arguments.tracking_uri,
        lanes=arguments.lanes,
        width=arguments.pack,
        engine=read_engine(arguments, config),
        resume=arguments.resume,
    )
    if summary.failed:
        return FAILED
    return INTERRUPTED if summary.unfinished else OK


def train(
    console: Console,
    data: Path,
    concepts: str,
    config: RunConfig,
    out: Path,
    *,
    tracking_uri: str = "",
    lanes: int = 0,
    width: int = WIDTH,
    engine: EngineSettings | None = None,
    resume: bool = False,
) -> Summary:
    """Run a job and show it on `console`; the summary and `report.html` are in `out`.

    engine        the plain one by default
    tracking_uri  an MLflow address, "" for a database file in `out`, "off" for none
    """
    catalog = Catalog.open(data)
    plan = plan_job(catalog, catalog.select(concepts), config, Output(out), resume)
    for refusal in plan.refused:
        console.print(f"{refusal.concept}: left out: {refusal.reason}", style="red", markup=False)
    uri = None if tracking_uri == OFF else tracking_uri or sqlite_uri(out)
    Output(out).prepare()
    engine = engine or EngineSettings.of(config)
    if plan.runs:
        console.print(_opening(plan, config))
        names = [run.concept for run in plan.runs]
        engine, width = fitted(console, config, engine, catalog, names, lanes, width)
    settings = JobSettings(
        data=data.absolute(),
        output=out.absolute(),
        engine=engine,
        lanes=lanes,
        width=width,
        tracking_uri=uri,
    )
    with Bars(console, len(plan.runs)) as bars:
        summary = run_job(plan, settings, _watcher(bars))
    console.print(table(summary))
    if uri is not None:
        console.print(f"tracked in {shown(uri)} (look with: mlflow ui --backend-store-uri URI)")
    console.print(f"report: {write_report(out, data)}")
    return summary


def _opening(plan: JobPlan, config: RunConfig) -> str:
    stages = ", ".join(f"{stage} {epochs} epochs" for stage, epochs in plan.runs[0].stages)
    before = f" ({len(plan.skipped)} learned before)" if plan.skipped else ""
    return f"{plan.name}: {len(plan.runs)} concepts{before} on backbone {config.backbone}: {stages}"


def _watcher(bars: Bars) -> Watcher:
    over: set[str] = set()

    def watch(statuses: Sequence[RunStatus]) -> None:
        for status in statuses:
            if status.state == "running" and status.stage:
                note = f"epoch {status.epoch}/{status.epochs}  {losses_text(status.losses)}"
                bars.show(status.concept, status.done, status.stage, note)
            elif status.over and status.name not in over:
                over.add(status.name)
                end = {"finished": f"published v{status.version}", "failed": f"failed: {status.error}"}
                bars.show(status.concept, status.done, end.get(status.state, status.state), "")
                if len(statuses) > SHOWN_BARS:
                    bars.hide(status.concept)
        finished = sum(status.state == "finished" for status in statuses)
        failed = sum(status.state == "failed" for status in statuses)
        bars.count(
            sum(1.0 if status.over else status.done for status in statuses),
            f"{finished} published" + (f", {failed} failed" if failed else ""),
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
