"""What a disturbed job must have made in the end."""

import math
import re
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cluster.summary import read_summary
from unictokens.concepts.store import ConceptStore
from unictokens.tracking.jsonl import read_events

STAGES = ("warmup", "bootstrap", "deepen")


def versions(out: Path) -> dict[str, int]:
    """Published versions by concept."""
    store = ConceptStore(out / "store")
    return {name: len(store.versions(name)) for name in store.names()}


def finished(out: Path) -> dict[str, str]:
    """How each concept ended, by the job's summary."""
    return {row.concept: row.status for row in read_summary(out).rows}


def repeated_epochs(out: Path) -> dict[str, int]:
    """Whole epochs that a run learned more than once, by run; those that were begun and cut off are in no event.

    What an attempt began with is what its lane's log says ("continues after ..."), what was learned is what trackers were told. An
    epoch counts when an attempt began before it although it had been told of, and told of it again. A run that goes on says the
    epoch after which it continues once more (nobody knows whether it had been said); that is no repetition.
    """
    log = [line for path in sorted((out / "logs").glob("*.log")) for line in path.read_text().splitlines()]
    found = {}
    for folder in sorted((out / "runs").iterdir()):
        told = [
            (
                datetime.fromisoformat(event["time"]).timestamp(),
                (int(event["values"]["stage"]), int(event["values"]["epoch"])),
            )
            for event in read_events(folder)
            if event["event"] == "metrics" and "epoch" in event["values"]
        ]
        attempts = _attempts(log, folder.name)
        ends = [began for began, _ in attempts[1:]] + [math.inf]
        found[folder.name] = sum(
            len(
                {at for when, at in told if when < began}
                & {at for when, at in told if began <= when < end and at > start}
            )
            for (began, start), end in zip(attempts, ends, strict=True)
        )
    return found


def _attempts(log: Sequence[str], run: str) -> list[tuple[float, tuple[int, int]]]:
    """When each attempt at a run began, in seconds since 1970, and the (stage, epoch) after which it did; (-1, 0) at the start."""
    concept = re.escape(run.rpartition("-")[0])
    found: list[tuple[float, tuple[int, int]]] = []
    for line in log:
        if re.search(rf"run '{re.escape(run)}' begins, attempt", line):
            moment, milliseconds = line[:23].split(",")
            found.append((time.mktime(time.strptime(moment, "%Y-%m-%d %H:%M:%S")) + int(milliseconds) / 1000, (-1, 0)))
        elif (said := re.search(rf"'{concept}' continues after (\w+), epoch (\d+)", line)) and found:
            found[-1] = (found[-1][0], (STAGES.index(said[1]), int(said[2])))
    return sorted(found)


def same_rows(first: Path, second: Path) -> dict[str, bool]:
    """Whether two outputs hold the same learned bytes, by concept."""
    stores = [ConceptStore(root / "store") for root in (first, second)]
    equal = {}
    for name in sorted({*stores[0].names(), *stores[1].names()}):
        tokens = [list(store.get(name).tokens.tensors()) for store in stores]
        equal[name] = all(one.numpy().tobytes() == other.numpy().tobytes() for one, other in zip(*tokens, strict=True))
    return equal
