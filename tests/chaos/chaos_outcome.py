"""What a disturbed job must have made in the end."""

from pathlib import Path

from cluster.summary import read_summary
from unictokens.concepts.store import ConceptStore
from unictokens.tracking.jsonl import read_events


def versions(out: Path) -> dict[str, int]:
    """Published versions by concept."""
    store = ConceptStore(out / "store")
    return {name: len(store.versions(name)) for name in store.names()}


def finished(out: Path) -> dict[str, str]:
    """How each concept ended, by the job's summary."""
    return {row.concept: row.status for row in read_summary(out).rows}


def repeated_epochs(out: Path) -> dict[str, int]:
    """Whole epochs that a run learned more than once, by run; those that were begun and cut off are in no event.

    A run that goes on says its last epoch once more (nobody knows whether it had been said); that is no repetition.
    """
    found = {}
    for folder in sorted((out / "runs").iterdir()):
        said: set[tuple[float, float]] = set()
        found[folder.name], first = 0, True
        for event in read_events(folder):
            if event["event"] == "begin":
                first = True
            elif event["event"] == "metrics" and "epoch" in event["values"]:
                epoch = (event["values"]["stage"], event["values"]["epoch"])
                found[folder.name] += epoch in said and not (first and epoch == max(said))
                said.add(epoch)
                first = False
    return found


def same_rows(first: Path, second: Path) -> dict[str, bool]:
    """Whether two outputs hold the same learned bytes, by concept."""
    stores = [ConceptStore(root / "store") for root in (first, second)]
    equal = {}
    for name in sorted({*stores[0].names(), *stores[1].names()}):
        tokens = [list(store.get(name).tokens.tensors()) for store in stores]
        equal[name] = all(one.numpy().tobytes() == other.numpy().tobytes() for one, other in zip(*tokens, strict=True))
    return equal
