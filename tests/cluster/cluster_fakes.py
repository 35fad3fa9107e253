"""Small stand-ins that several tests of the cluster share."""

from cluster.run_status import Ticket
from unictokens.config import PRESETS
from unictokens.learn import Learned, RunPlan


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def runs(count: int) -> tuple[RunPlan, ...]:
    """Planned runs of concepts c0, c1, ...: two epochs each of two stages."""
    return tuple(
        RunPlan(
            name=f"c{number}-x",
            concept=f"c{number}",
            config=PRESETS["demo"],
            config_hash="h",
            dataset_digest="d",
            stages=(("warmup", 2), ("deepen", 2)),
        )
        for number in range(count)
    )


def learned(ticket: Ticket, version: int | None = 1) -> Learned:
    """The end of a run: published, or (without a version) stopped."""
    status = "finished" if version else "stopped"
    concept = ticket.run.partition("-")[0]
    return Learned(
        name=ticket.run, concept=concept, status=status, version=version, stage="deepen", epoch=2, seconds=3.0
    )
