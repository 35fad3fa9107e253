"""A sweep's trials in packs of one job, against one job for each trial: the same runs, on one machine, one after the other."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import Result, Row
from tune_spaces.space import apply
from unictokens.config import from_dict, to_dict
from unictokens.data.toyland.writer import write_dataset
from unictokens.errors import TrainingError

STAGES = ("warmup", "bootstrap", "deepen")


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--separate", type=int, default=0, help="of them trained apart, the rest reckoned (0: all)")
    parser.add_argument("--space", default="learning_rates")
    parser.add_argument("--concept", default="bo")
    parser.add_argument("--epochs", type=int, default=2, help="of every stage (2)")
    parser.add_argument("--lanes", type=int, default=1)
    parser.add_argument("--pack", type=int, default=16)
    parser.add_argument("--config", default="demo", help="preset or file; epochs are set, previews off")
    parser.add_argument("--backbone", default="mini")


def measure(options: argparse.Namespace) -> Result:
    """No trial is ended early: both ways train every epoch of all of them. A trial apart is `cluster train` with its configuration."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_dataset(place / "data")
        shared = ["--data", str(place / "data"), "--concepts", options.concept, "--backbone", options.backbone]
        shared += ["--lanes", str(options.lanes), "--pack", str(options.pack)]
        changed = ["preview.every=0", *(f"stages.{stage}.epochs={options.epochs}" for stage in STAGES)]
        sweep = [
            "sweep",
            "--space",
            options.space,
            "--metric",
            "understanding_loss",
            "--scheduler",
            "none",
            "--name",
            "s",
        ]
        sweep += ["--trials", str(options.trials), "--out", str(place / "together"), "--config", options.config]
        seconds = timed([*sweep, *shared, "--set", *changed])
        rows.append(
            {"way": "together", "trials": options.trials, "s": seconds, "s per trial": seconds / options.trials}
        )
        apart, count = 0.0, options.separate or options.trials
        for number, config in enumerate(configurations(place / "together")[:count]):
            file = place / f"{number}.json"
            file.write_text(config)
            apart += timed(["train", "--out", str(place / f"apart{number}"), "--config", str(file), *shared])
        rows.append({"way": "apart", "trials": count, "s": apart, "s per trial": apart / count})
    for row in rows:
        row["share"] = row["s per trial"] / rows[-1]["s per trial"]
    asked = ("space", "epochs", "lanes", "pack", "config", "backbone")
    return Result("sweep", {name: getattr(options, name) for name in asked}, tuple(rows))


def configurations(out: Path) -> list[str]:
    """What the sweep's trials were, as files for --config."""
    folder = out / "sweeps" / "s"
    base = from_dict(json.loads((folder / "sweep.json").read_text())["config"])
    samples = [trial["sample"] for trial in json.loads((folder / "trials.json").read_text())]
    return [json.dumps(to_dict(apply(base, sample))) for sample in samples]


def timed(command: list[str]) -> float:
    """Seconds of `python -m cluster ...`, from its start to its end. Raises TrainingError when it fails."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "cluster", *command], capture_output=True, text=True)
    if done.returncode != 0:
        raise TrainingError(f"'{command[0]}' ended with {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
    return time.perf_counter() - started
