"""The queue below Ray: state changes per second with the journal, and what 10 to 100,000 runs cost their keeper and their driver.

Every number of runs has a process of its own. Seconds are those that the process computed: another program's are not counted.
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.timing import Result, Row, peak_memory
from cluster.folder import JobFolder
from cluster.keeper import Keeper, prepare
from cluster.plan import JobPlan
from cluster.run_status import Ticket
from cluster.summary import summarise
from unictokens.config import PRESETS
from unictokens.learn import Learned, RunPlan
from unictokens.memory import MIB, resident_bytes
from unictokens.training.session import Progress

STAGES = (("warmup", 2), ("bootstrap", 2), ("deepen", 2))
CHANGED = 64
"""Runs that moved between two looks of the driver: 8 lanes with packs of 8."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--concepts", default="10,1000,100000", help="numbers of runs, with commas")
    parser.add_argument("--changes", type=int, default=20_000, help="state changes to time, at least")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> Result:
    """A row per number of runs."""
    if options.probe:
        print(json.dumps(_probe(options.probe, options.changes)))
        sys.exit(0)
    rows: list[Row] = []
    for concepts in options.concepts.split(","):
        command = [sys.executable, "-m", "benchmarks", "cluster", "queue", "--probe", concepts]
        command += ["--changes", str(options.changes)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return Result("cluster queue", {"changes": options.changes}, tuple(rows))


def planned(concepts: int) -> JobPlan:
    """A job of so many runs, which nobody will train."""
    runs = tuple(
        RunPlan(
            name=f"c{number}-0123456789ab",
            concept=f"c{number}",
            config=PRESETS["demo"],
            config_hash="0" * 12,
            dataset_digest="0" * 16,
            stages=STAGES,
        )
        for number in range(concepts)
    )
    return JobPlan(tuple(run.concept for run in runs), runs, called=f"scale-{concepts}")


def learned(ticket: Ticket, seconds: float = 1.0) -> Learned:
    """The end of a run."""
    concept = ticket.run.partition("-")[0]
    return Learned(
        name=ticket.run, concept=concept, status="finished", version=1, stage="deepen", epoch=2, seconds=seconds
    )


def live(keeper: Any, lane: str, ask: str) -> int:
    """One run from its taking to its end, as a lane tells it; returns the changes of its state, 0 when none waits."""
    handed = keeper.take(lane, ask).handed
    if handed is None:
        return 0
    changes = 2
    for stage, epochs in STAGES:
        for epoch in range(1, epochs + 1):
            keeper.report(handed.ticket, progress(handed.plan.concept, stage, epoch, epochs))
            keeper.goes_on(handed.ticket)
            changes += 1
    keeper.finish(handed.ticket, learned(handed.ticket))
    return changes


def progress(concept: str, stage: str, epoch: int, epochs: int) -> Progress:
    """The last step of an epoch."""
    losses = {"understanding": 1.25, "generation": 2.5, "total": 2.25}
    return Progress(concept=concept, stage=stage, epoch=epoch, epochs=epochs, step=4, steps=4, losses=losses)


def _probe(concepts: int, least: int) -> Row:
    plan = planned(concepts)
    with tempfile.TemporaryDirectory() as place:
        folder = JobFolder(Path(place), plan.name)
        prepare(folder, plan)
        before = resident_bytes() or 0
        opened, keeper = _timed(Keeper, folder)
        row: Row = {"runs": concepts, "keeper MiB": ((resident_bytes() or 0) - before) / MIB}
        first, bulletin = _timed(keeper.bulletin, 0, {})
        changes, longest, spent = 0, 0.0, 0.0
        while changes < least:
            seconds, more = _timed(live, keeper, "lane-0", str(changes))
            if not more:  # a small job is lived through again and again
                prepare(folder, plan)
                keeper = Keeper(folder)
                continue
            changes, spent, longest = changes + more, spent + seconds, max(longest, seconds)
        row |= {"changes per s": changes / spent, "longest change ms": 1000 * longest}
        again, keeper = _timed(Keeper, folder)
        row |= {"begin s": opened, "begin again s": again, "first bulletin s": first}
        version = keeper.bulletin(0, {}).version
        for number in range(CHANGED):
            live(keeper, "lane-1", f"last {number}")
        looked, some = _timed(keeper.bulletin, version, {})
        row |= {"bulletin ms": 1000 * looked, "bulletin KiB": len(pickle.dumps(some)) / 1024}
        sent = pickle.dumps(bulletin)
        del keeper, bulletin, plan
        # Allocated, not resident: the driver's objects would fill what the keeper's have left.
        tracemalloc.start()
        plan = folder.plan()
        row["plan MiB"] = tracemalloc.get_traced_memory()[0] / MIB
        known = {status.name: status for status in pickle.loads(sent).changed}  # what the driver keeps
        now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        row |= {"driver MiB": now / MIB, "at most MiB": most / MIB, "first bulletin MiB": len(sent) / MIB}
        row["summary s"], _ = _timed(summarise, plan, tuple(known.values()), 1.0)
    row["process MiB"] = peak_memory() / MIB
    return row


def _timed(work: Callable[..., Any], *given: Any) -> tuple[float, Any]:
    """Seconds that this process computed, and what came of it."""
    started = time.process_time()
    made = work(*given)
    return time.process_time() - started, made
