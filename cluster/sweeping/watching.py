"""How far runs are and what they reached, from their own files: nothing that a sweep knows is lost with a process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cluster.reproduction.collect import scores_of
from cluster.sweeping.exam import Sitting
from cluster.sweeping.objective import Metric, Objective
from cluster.sweeping.planner import Planned
from unictokens.errors import TrainingError
from unictokens.evaluation.score import Score
from unictokens.learn import Output, RunPlan, published_version
from unictokens.training.checkpoint import Cursor
from unictokens.training.history import EpochRecord, History

END = Cursor(1_000_000, "", 0)


@dataclass(frozen=True)
class Watch:
    """Reads what runs of one output folder wrote. `sitting` says how they are examined, None where they are not."""

    output: Output
    objective: Objective
    sitting: Sitting | None = None

    def complete(self, plan: RunPlan) -> bool:
        """Whether a run is published and examined, so that no lane need see it."""
        examined = self.sitting is None or self.sitting.task(plan).held
        return examined and published_version(self.output, plan) is not None

    def records(self, plan: RunPlan) -> tuple[EpochRecord, ...]:
        """Epochs of a run so far. Raises StorageError for a damaged history."""
        history = History(self.output.run_folder(plan.name) / "history.jsonl")
        history.reopen(END)
        return tuple(history.records)

    def watched(self, histories: Sequence[Sequence[EpochRecord]], epoch: int) -> float | None:
        """The mean of the watched loss over runs in an epoch, counted from 1 over all stages; None where a run has none there."""
        name = self.objective.watched.removesuffix("_loss")
        values = [records[epoch - 1].losses.get(name) for records in histories]
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(values) else None

    def scores(self, runs: Sequence[Planned]) -> dict[str, dict[str, list[float]]]:
        """The metrics of complete runs. Raises TrainingError for one that has no number, with the reason."""
        found: dict[str, dict[str, list[float]]] = {}
        for run in runs:
            exam = scores_of(self.sitting.task(run.plan)) if self.sitting is not None else {}
            for metric in self.objective.metrics:
                found.setdefault(metric.name, {}).setdefault(run.concept, []).append(self._value(metric, run, exam))
        return found

    def _value(self, metric: Metric, run: Planned, exam: Mapping[str, Score]) -> float:
        if metric.source == "layout":
            return float(run.plan.config.layout.total - 1)
        if metric.source == "history":
            records, name = self.records(run.plan), metric.name.removesuffix("_loss")
            if records and name in records[-1].losses:
                return records[-1].losses[name]
            raise TrainingError(
                f"run '{run.plan.name}' has no {metric.name} in its last epoch: choose another --metric"
            )
        score = exam.get(metric.name, Score(None, 0, "no such score in this examination"))
        if score.value is None:
            raise TrainingError(f"'{run.concept}' has no {metric.name} ({score.why}): choose another --metric")
        return score.value
