"""`unictokens train --data DIR --concept bo --out OUT`: one concept on this machine, without Ray."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from unictokens.cli.options import OUT, add_config, add_device, read_config, read_device
from unictokens.cli.progress import Bars, losses_text, make_console
from unictokens.cli.shell import INTERRUPTED, OK
from unictokens.config import RunConfig
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError
from unictokens.learn import Learned, RunPlan, learn_concept, plan_run, published_version
from unictokens.output import Output
from unictokens.storage.base import join, parse_place
from unictokens.tracking.address import OFF
from unictokens.tracking.base import Tracker
from unictokens.tracking.node import DRAIN_SECONDS, left_words
from unictokens.tracking.tracked import Tracked
from unictokens.training.session import Progress


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `train`."""
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--concept", required=True, help="one concept of the dataset")
    parser.add_argument(
        "--out", type=parse_place, default=OUT, help="output folder, or a URL such as s3://bucket/prefix (out)"
    )
    parser.add_argument("--resume", action="store_true", help="continue a run that was begun before")
    parser.add_argument(
        "--tracking-uri", default="off", help="also track in MLflow: an address such as http://host:5000"
    )
    add_config(parser)
    add_device(parser)


class BarSession:
    """Shows a run as one bar; Ctrl-C ends it at once (what is saved stays)."""

    def __init__(self, bars: Bars, plan: RunPlan) -> None:
        self._bars = bars
        self._plan = plan

    def report(self, progress: Progress) -> None:
        note = f"epoch {progress.epoch}/{progress.epochs}  {losses_text(progress.losses)}"
        self._bars.show(progress.concept, self._plan.done(progress), progress.stage, note)

    def should_leave(self) -> bool:
        return False

    def should_stop(self) -> bool:
        return False


def run(arguments: argparse.Namespace) -> int:
    """Train, publish, say where it is."""
    from unictokens.data.catalog import Catalog

    config, output, console = read_config(arguments), Output(arguments.out), make_console()
    record = Catalog.open(arguments.data).concept(arguments.concept)
    plan = plan_run(record, config)
    version = published_version(output, plan)
    if version is not None:
        console.print(f"{record.name} was learned with these settings before: {record.name}@v{version}")
        return OK
    if output.begun([plan.name]) and not arguments.resume:
        raise ConfigError(
            f"'{join(output.root, 'runs', plan.name)}' holds an unfinished run: add --resume, or choose another --out"
        )
    output.prepare()
    tracked = Tracked(output.local, None if arguments.tracking_uri == OFF else arguments.tracking_uri)
    with tracked.uploading() as uploading:
        uploading.check()
        learned = _train(arguments, config, output, record, plan, tracked, console)
        left = uploading.drain(DRAIN_SECONDS, {record.name: output.store.aliases(record.name)})
    if left.events and tracked.uri is not None:
        console.print(left_words(left, tracked.root, tracked.uri), style="red", markup=False)
    if learned.version is None:
        return INTERRUPTED
    console.print(
        f"published {learned.concept}@v{learned.version} in {output.store.root} "
        f"({learned.seconds:.0f} s of training, {losses_text(learned.losses)})",
        highlight=False,
    )
    return OK


def _train(
    arguments: argparse.Namespace,
    config: RunConfig,
    output: Output,
    record: ConceptRecord,
    plan: RunPlan,
    tracked: Tracked,
    console: Console,
) -> Learned:
    from unictokens.backbones import load_backbone
    from unictokens.training.engine import LocalEngine

    device = read_device(arguments)
    backbone = load_backbone(
        config.backbone, device=device, answer_start=config.answer_start, precision=config.precision
    )
    engine = LocalEngine(backbone, backbone.device)
    workspace = output.open_run(plan.name)
    with Bars(console) as bars:
        return learn_concept(
            engine,
            record,
            plan,
            output,
            tracker=_tracker(tracked, output, plan, workspace.folder),
            session=BarSession(bars, plan),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            workspace=workspace,
        )


def _tracker(tracked: Tracked, output: Output, plan: RunPlan, folder: Path) -> Tracker:
    tags = {"kind": "concept", "concept": plan.concept}
    local = isinstance(output.root, Path)
    return tracked.tracker(plan.name, tags, folder) if local else tracked.passing(plan.name, tags, folder)
