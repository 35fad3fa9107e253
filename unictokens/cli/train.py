"""`unictokens train --data DIR --concept bo --out OUT`: one concept on this machine, without Ray."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from unictokens.cli.options import OUT, add_config, add_device, read_config, read_device
from unictokens.cli.progress import Bars, losses_text, make_console
from unictokens.cli.shell import INTERRUPTED, OK
from unictokens.errors import ConfigError
from unictokens.learn import Output, RunPlan, learn_concept, plan_run, published_version
from unictokens.tracking.base import Trackers
from unictokens.tracking.jsonl import JsonlTracker
from unictokens.tracking.mlflow_tracker import MlflowTracker
from unictokens.training.session import Progress


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `train`."""
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--concept", required=True, help="one concept of the dataset")
    parser.add_argument("--out", type=Path, default=OUT, help="output folder (out)")
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

    def should_stop(self) -> bool:
        return False


def run(arguments: argparse.Namespace) -> int:
    """Train, publish, say where it is."""
    from unictokens.backbones import load_backbone
    from unictokens.data.catalog import Catalog
    from unictokens.training.engine import LocalEngine

    config, output, console = read_config(arguments), Output(arguments.out), make_console()
    record = Catalog.open(arguments.data).concept(arguments.concept)
    plan = plan_run(record, config)
    version = published_version(output, plan)
    if version is not None:
        console.print(f"{record.name} was learned with these settings before: {record.name}@v{version}")
        return OK
    if output.begun(plan.name) and not arguments.resume:
        raise ConfigError(
            f"'{output.run_folder(plan.name)}' holds an unfinished run: add --resume, or choose another --out"
        )
    output.prepare()
    device = read_device(arguments)
    backbone = load_backbone(
        config.backbone, device=device, answer_start=config.answer_start, precision=config.precision
    )
    engine = LocalEngine(backbone, backbone.device)
    files = JsonlTracker(output.run_folder(plan.name))
    server = () if arguments.tracking_uri == "off" else (MlflowTracker(arguments.tracking_uri, plan.name),)
    with Bars(console) as bars:
        learned = learn_concept(
            engine,
            record,
            plan,
            output,
            tracker=Trackers((files, *server)),
            session=BarSession(bars, plan),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    if learned.version is None:
        return INTERRUPTED
    console.print(
        f"published {learned.concept}@v{learned.version} in {output.store.root} "
        f"({learned.seconds:.0f} s of training, {losses_text(learned.losses)})",
        highlight=False,
    )
    return OK
