"""How a job ended: a row per concept, on disk and on the screen."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cluster.plan import JobPlan
from cluster.run_status import RunStatus
from unictokens.atomic import json_bytes
from unictokens.errors import StorageError
from unictokens.storage.base import Place, join, open_storage

SUMMARY_FILE = "summary.json"
RowStatus = Literal["finished", "published before", "failed", "stopped", "not started"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One concept of a job. `run` names its folder below runs/; it is empty when the data were refused."""

    concept: str
    run: str
    status: RowStatus
    stage: str = ""
    epoch: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    version: int | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All concepts of a job; `seconds` is its wall time."""

    job: str
    rows: tuple[Row, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Row, ...]:
        """Concepts that could not be learned."""
        return tuple(row for row in self.rows if row.status == "failed")

    @property
    def unfinished(self) -> tuple[Row, ...]:
        """Concepts without a published version."""
        return tuple(row for row in self.rows if row.version is None)


def summarise(plan: JobPlan, statuses: Sequence[RunStatus], seconds: float) -> Summary:
    """The summary of a job from its plan and the queue's last word."""
    rows = [_row(status) for status in statuses]
    rows += [
        Row(concept=skip.plan.concept, run=skip.plan.name, status="published before", version=skip.version)
        for skip in plan.skipped
    ]
    rows += [Row(concept=refusal.concept, run="", status="failed", error=refusal.reason) for refusal in plan.refused]
    place = {concept: at for at, concept in enumerate(plan.concepts)}
    rows.sort(key=lambda row: place.get(row.concept, len(place)))
    return Summary(job=plan.name, rows=tuple(rows), seconds=round(seconds, 1))


def _row(status: RunStatus) -> Row:
    names: dict[str, RowStatus] = {"finished": "finished", "failed": "failed", "waiting": "not started"}
    return Row(
        concept=status.concept,
        run=status.name,
        status=names.get(status.state, "stopped"),
        stage=status.stage,
        epoch=status.epoch,
        losses=status.losses,
        seconds=status.seconds,
        version=status.version,
        error=status.error,
    )


def write_summary(summary: Summary, place: Place) -> None:
    """Write `summary.json`. Raises StorageError."""
    open_storage(place).write(SUMMARY_FILE, json_bytes(asdict(summary)))


def read_summary(place: Place) -> Summary:
    """Read `summary.json`. Raises StorageError when it is missing or damaged."""
    path, data = join(place, SUMMARY_FILE), open_storage(place).read(SUMMARY_FILE)
    if data is None:
        raise StorageError(f"there is no '{path}': run the job again with --resume")
    try:
        values: dict[str, Any] = json.loads(data)
        rows = tuple(Row(**row) for row in values["rows"])
        return Summary(job=values["job"], rows=rows, seconds=values["seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"'{path}' is damaged ({error}): run the job again with --resume") from error
