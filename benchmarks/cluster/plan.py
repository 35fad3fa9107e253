"""Plan a job of many concepts: seconds and memory of `cluster.plan` and its file.

The dataset is one Toyland concept under as many names (its folders are links, its stage files its own), so that its pictures come
from the page cache: what is measured is reading, checking and hashing, not a disk.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.timing import Result, Row, peak_memory
from cluster.folder import JobFolder
from cluster.plan import plan_job
from unictokens.atomic import write_json
from unictokens.config import PRESETS
from unictokens.data.catalog import Catalog
from unictokens.data.sheet import STAGES
from unictokens.data.toyland.writer import write_dataset
from unictokens.memory import MIB
from unictokens.output import Output


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--concepts", type=int, default=100_000)


def measure(options: argparse.Namespace) -> Result:
    """Time of a plan, of writing it, and of a keeper reading it again; in seconds of the clock and of this process."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder) / "data", Output(Path(folder) / "out")
        multiply(data, options.concepts)
        before = peak_memory()
        job = JobFolder(Path(folder) / "out", "job")

        def step(what: str, started: tuple[float, float]) -> None:
            clock, process = (now - before for now, before in zip(_now(), started, strict=True))
            rows.append({"what": what, "s": clock, "process s": process, "ms each": 1000 * process / options.concepts})

        started = _now()
        catalog = Catalog.open(data)
        plan = plan_job(catalog, catalog.names, PRESETS["demo"], output, resume=False)
        step("plan", started)
        started = _now()
        job.write_plan(plan)
        step("write", started)
        started = _now()
        job.plan()
        step("read", started)
        rows[0]["MiB"] = (peak_memory() - before) / MIB
        rows[1]["file MiB"] = (Path(folder) / "out/jobs/job/plan.json").stat().st_size / MIB
    return Result("cluster plan", {"concepts": options.concepts}, tuple(rows))


def multiply(data: Path, concepts: int) -> None:
    """One Toyland concept under many names, each with stage files that name its own pictures."""
    (first,) = write_dataset(data, concepts=1, size=32)
    names = [f"c{number}" for number in range(concepts)]
    photos = sorted(file.name for file in (data / "concept/train" / first).glob("*.png"))
    folders = [f"showo_training_data_{stage}" for stage in STAGES]
    stages = {folder: (data / folder / f"{first}.json").read_text() for folder in folders}
    for name in names:
        for folder in ("concept/train", "concept/test"):
            os.symlink(first, data / folder / name)
        os.symlink(f"{first}.json", data / "test_data" / f"{name}.json")
        for folder, text in stages.items():
            own = text.replace(f"concept/train/{first}/", f"concept/train/{name}/")
            (data / folder / f"{name}.json").write_text(own)
    write_json(data / "concepts_list.json", names)
    write_json(data / "concept/train/train_images.json", dict.fromkeys(names, photos))


def _now() -> tuple[float, float]:
    """Seconds of the clock, and of this process and those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used)
