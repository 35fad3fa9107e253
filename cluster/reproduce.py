"""`python -m cluster reproduce --table NAME`: train, examine and tabulate one of the paper's findings beside the paper's numbers.

    <out>/runs, store           training, as `cluster train` writes it; tables share runs with equal settings
    <out>/exams/<run>/<stage>-<digest>/   everything asked, said, drawn and judged
    <out>/tables/<name>/        table.json, table.csv, table.md, plot.png, pictures/, attention/
    <out>/reproduction.html     all tables of the folder

The same command goes on where an earlier one stopped; what is finished is not made again.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.driver import View
from cluster.engines import EngineSettings
from cluster.forecast import fitted
from cluster.host import ray_session
from cluster.job import run_job
from cluster.job_settings import WIDTH, JobSettings
from cluster.lane_shape import lane_count
from cluster.reproduction.collect import Sheet
from cluster.reproduction.examiner import ExaminerSettings, hold_all
from cluster.reproduction.illustrations import keep_overlays, keep_pictures
from cluster.reproduction.publish import grid, publish
from cluster.reproduction.tables import TABLES
from cluster.reproduction.tasks import JUDGE, Looks
from cluster.reproduction.work import Work, name_of, opening, plan_work, refused
from cluster.summary import Summary
from unictokens import __version__
from unictokens.backbones import load_backbone
from unictokens.cli.options import add_config, read_config
from unictokens.cli.progress import Bars, make_console
from unictokens.cli.shell import FAILED, INTERRUPTED, OK
from unictokens.config import override
from unictokens.data.catalog import Catalog
from unictokens.data.toyland.writer import write_dataset
from unictokens.errors import ConfigError
from unictokens.report.findings import Findings
from unictokens.storage.base import local_folder
from unictokens.tracking.address import OFF, shown, sqlite_uri
from unictokens.tracking.base import Status
from unictokens.tracking.tracked import Tracked, TrackedEntry

OUT = Path("reproduction")
NONE = "none"


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `reproduce`."""
    parser.add_argument("--table", required=True, help=f"one of {', '.join(TABLES)}")
    parser.add_argument("--data", type=Path, help="dataset folder (Toyland, written into OUT/data)")
    parser.add_argument("--concepts", default="all", help="all, or names with commas (all)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each concept and variant, seeds from 0 (3)")
    parser.add_argument("--out", type=local_folder, default=OUT, help=f"output folder ({OUT})")
    parser.add_argument("--lanes", type=int, default=0, help="workers (one per GPU; without, one per core, at most 4)")
    parser.add_argument("--pack", type=int, default=WIDTH, help=f"runs that a worker trains together ({WIDTH})")
    parser.add_argument(
        "--clip",
        default="toyland",
        metavar="NAME|DIR",
        help=f"for clip-i and clip-t, as in evaluate (the one for Toyland); or {NONE}",
    )
    parser.add_argument("--dino", type=Path, metavar="DIR", help="a vision transformer's folder, for dino")
    parser.add_argument("--faces", type=Path, metavar="DIR", help="a face encoder's folder, for face")
    parser.add_argument("--previews", action="store_true", help="also draw and ask while training, as `train` does")
    parser.add_argument(
        "--tracking-uri", default="", metavar="URI", help=f"MLflow (OUT/mlflow.db by default); '{OFF}' for none"
    )
    add_config(parser)
    parser.set_defaults(config="demo")


def run(arguments: argparse.Namespace) -> int:
    """Do what is left of a table. Exit code 1 when something of it failed (named in the table), 130 when it was stopped."""
    if arguments.table not in TABLES:
        raise ConfigError(f"--table '{arguments.table}' is unknown: choose one of {', '.join(TABLES)}")
    if arguments.seeds < 1:
        raise ConfigError(f"--seeds {arguments.seeds} is below one: a table needs a run of each variant")
    if min(arguments.lanes, arguments.pack - 1) < 0:
        raise ConfigError("--lanes and --pack count workers and runs: use 0 or more, and 1 or more")
    console, config = make_console(), read_config(arguments)
    if not arguments.previews:
        config = override(config, {"preview.every": 0})
    data = arguments.data or arguments.out / "data"
    if arguments.data is None and not data.exists():
        with console.status("drawing the world ..."):
            write_dataset(data)
    table, looks = TABLES[arguments.table], _looks(arguments)
    out, seeds = arguments.out.absolute(), arguments.seeds
    work = plan_work(table, config, data.absolute(), out, arguments.concepts, seeds, looks)
    work.output.prepare()
    console.print(opening(work))
    uri = None if arguments.tracking_uri == OFF else arguments.tracking_uri or sqlite_uri(arguments.out)
    tags = {"kind": "table", "table": work.table.name, "data": data.name}
    tracking = TrackedEntry(Tracked(out, uri), name_of(work), tags)
    status: Status = "failed"
    try:
        findings, status = _reproduce(console, work, arguments, uri, tracking)
        if findings is None:
            console.print("stopped: the same command goes on")
            return INTERRUPTED
        console.print(grid(findings))
        page = publish(console, work.output.local, findings, tracking.tracker)
        for finding in findings.findings:
            console.print(f"{finding.verdict}: {finding.claim} ({finding.said})", markup=False)
        if uri is not None:
            console.print(f"tracked in {shown(uri)}", markup=False)
        console.print(f"page: {page}", markup=False)
        return OK if status == "finished" else FAILED
    finally:
        if left := tracking.close(status):
            console.print(left, style="red", markup=False)


def _looks(arguments: argparse.Namespace) -> Looks:
    """Who measures drawings; processes elsewhere open these folders."""
    dino, faces = (None if path is None else path.absolute() for path in (arguments.dino, arguments.faces))
    return Looks(None if arguments.clip == NONE else arguments.clip, dino, faces)


def _reproduce(
    console: Console, work: Work, arguments: argparse.Namespace, uri: str | None, tracking: TrackedEntry
) -> tuple[Findings | None, Status]:
    """Train, examine, collect; None for the findings when the training was stopped."""
    engine = EngineSettings.of(work.config)
    failed: dict[Path, str] = {}
    with ray_session() if work.plan.runs or work.left else nullcontext() as ray:
        summary = _train(console, work, engine, arguments, uri, tracking) if work.plan.runs else None
        if summary is not None and any(row.status in ("stopped", "not started") for row in summary.rows):
            return None, "stopped"
        if work.left:
            failed = _examine(console, work, engine, arguments.lanes, ray)
    broken = {row.run: row.error for row in summary.failed if row.run} if summary is not None else {}
    for task in work.tasks.values():
        if task.folder in failed and task.plan is not None and task.plan.name in broken:
            failed[task.folder] = f"its training failed: {broken[task.plan.name]}"
    left_out = {
        (variant.name, concept, seed): reason
        for concept, reason in refused(work.plan).items()
        for variant in work.table.variants
        for seed in (work.seeds if variant.trained else (0,))
    }
    sheet = Sheet(work.table, work.tasks, failed, left_out)
    findings = sheet.findings(work.concepts, _settings(work, arguments))
    _illustrate(work, sheet)
    complete = not failed and not left_out
    return findings, "finished" if complete else "failed"


def _train(
    console: Console,
    work: Work,
    engine: EngineSettings,
    arguments: argparse.Namespace,
    uri: str | None,
    tracking: TrackedEntry,
) -> Summary:
    names = [run.concept for run in work.plan.runs]
    catalog = Catalog.open(work.data)
    engine, width = fitted(console, work.config, engine, catalog, names, arguments.lanes, arguments.pack)
    settings = JobSettings(
        data=work.data,
        output=work.output.local,
        engine=engine,
        lanes=arguments.lanes,
        width=width,
        tracking_uri=uri,
        above=tracking.inner.above,
    )
    with Bars(console) as bars:

        def watch(view: View) -> None:
            bars.show("training", view.done, _tenths(view.over, view.total), f"{view.over} of {view.total} runs")

        return run_job(work.plan, settings, watch)


def _examine(console: Console, work: Work, engine: EngineSettings, lanes: int, ray: Any) -> dict[Path, str]:
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    count = lane_count(lanes, 1, len(work.left), cpus, gpus)
    settings = ExaminerSettings(
        data=work.data,
        output=work.output.local,
        engine=engine,
        count=count,
        cpus=max(1, cpus // count),
        gpus=1 if gpus else 0,
    )
    with Bars(console) as bars:

        def show(over: int, total: int) -> None:
            bars.show("examining", over / total, _tenths(over, total), f"{over} of {total}")

        return hold_all(ray, work.left, settings, show)


def _tenths(over: int, total: int) -> str:
    """A word that changes ten times, so that a log file gets ten lines."""
    return f"{over * 10 // total * 10} %"


def _settings(work: Work, arguments: argparse.Namespace) -> dict[str, Any]:
    """How a table came about, for whoever reads it."""
    return {
        "preset": arguments.config,
        "changed": list(arguments.set),
        "backbone": work.config.backbone,
        "concepts": list(work.concepts),
        "seeds": len(work.seeds),
        "judge": JUDGE,
        "library": __version__,
    }


def _illustrate(work: Work, sheet: Sheet) -> None:
    folder = work.output.local / "tables" / work.table.name
    keep_pictures(folder, sheet, work.concepts)
    left_out = refused(work.plan)
    readable = [concept for concept in work.concepts if concept not in left_out]
    if work.table.attends and readable:
        config = work.config
        backbone = load_backbone(config.backbone, answer_start=config.answer_start, precision=config.precision)
        record = Catalog.open(work.data).concept(readable[0])
        keep_overlays(folder, work.table, record, work.runs, backbone, work.output)
