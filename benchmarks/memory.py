"""Memory: the peak of a step for growing vocabularies, and what several processes share of one copy of the weights."""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.plain import PlainTrainer
from benchmarks.shapes import SHAPES, drawing, photos, question, shape
from benchmarks.timing import Result, Row
from benchmarks.train_step import FastStep, random_tokens
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.weights import load, random_backbone, save_backbone
from unictokens.errors import ConfigError

MIB = 2**20
VOCABULARIES = (8_192, 32_768, 131_072)


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--shape", default="trial", help="mini, trial or full")
    parser.add_argument("--only", choices=["step", "processes"], help="half of it")
    parser.add_argument("--probe", help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> Result:
    """Each number is of a process of its own (Linux)."""
    if not Path("/proc/self/smaps_rollup").exists():
        raise ConfigError("this measurement reads /proc: run it on Linux")
    if options.probe:
        kind, argument = options.probe.split(":", 1)
        return Result(
            "memory", {}, (_step_peak(options.shape, kind, int(argument)),) if kind != "load" else (_loaded(argument),)
        )
    rows: list[Row] = []
    if options.only != "processes":
        for text in VOCABULARIES:
            found: Row = {"text ids": text}
            for kind in ("plain", "ours"):
                (row,) = _probe(options.shape, [f"{kind}:{text}"])
                found |= row
            rows.append(found)
    if options.only != "step":
        with tempfile.TemporaryDirectory() as folder:
            save_backbone(shape(options.shape).make(), Path(folder))
            for count in (1, 2, 4):
                found_each = _probe(options.shape, [f"load:{folder}"] * count)
                rows.append({"processes": count, **{key: sum(row[key] for row in found_each) for key in found_each[0]}})
    return Result("memory", {"shape": options.shape}, tuple(rows))


def _probe(name: str, probes: list[str]) -> list[Row]:
    """Run probes side by side, each in a process that keeps what it loaded until all have loaded."""
    command = [sys.executable, "-m", "benchmarks", "memory", "--json", "--shape", name, "--probe"]
    running = [
        subprocess.Popen([*command, probe], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for probe in probes
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    found = []
    for process in running:
        # One after the other measures while all are still there.
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("measure\n")
        process.stdin.flush()
        found.append(process.stdout.readline())
    rows = [json.loads(line) for line in found]
    for process in running:
        process.communicate("end\n")
    return rows


def _step_peak(name: str, kind: str, text_size: int) -> Row:
    """MiB that the second step of a later stage takes above what stood there before."""
    backbone = _with_vocabulary(SHAPES[name].make(), text_size)
    pictures = photos(backbone, 1)
    codes_PN = backbone.encode(pictures)
    tokens = random_tokens(backbone, torch.device("cpu"))
    if kind == "plain":
        trainer, turn = PlainTrainer(backbone, tokens), question(codes_PN[0]).turns[0]
        sample, hidden = drawing(codes_PN[0], 0)

        def step() -> object:
            return trainer.step([(pictures[0], turn.question, turn.answer)], [(pictures[0], sample.prompt, hidden)])
    else:
        step = FastStep(backbone, tokens, codes_PN, 1, 1)
    step()
    print("ready", flush=True)
    sys.stdin.readline()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _status("VmRSS")
    step()
    row = {f"{kind} step MiB": (_status("VmHWM") - before) / MIB}
    print(json.dumps(row), flush=True)
    sys.stdin.readline()
    sys.exit(0)


def _with_vocabulary(backbone: ShowO, text_size: int) -> ShowO:
    return random_backbone(replace(backbone.config, text_size=text_size, fingerprint=""), backbone.tokenizer, seed=0)


def _loaded(folder: str) -> Row:
    backbone = load(folder)
    print("ready", flush=True)
    sys.stdin.readline()
    values = dict(
        line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:] if ":" in line
    )
    amounts = {key: int(value.split()[0]) / 1024 for key, value in values.items() if value.strip().endswith("kB")}
    weights = sum(tensor.nbytes for tensor in backbone.language_model.state_dict().values()) / MIB
    row = {
        "weights MiB": weights,
        "resident MiB": amounts["Rss"],
        "proportional MiB": amounts["Pss"],
        "private MiB": amounts["Private_Clean"] + amounts["Private_Dirty"],
    }
    print(json.dumps(row), flush=True)
    sys.stdin.readline()
    sys.exit(0)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0
