"""One session of a sweep: from what is known to what is found, with one job's lanes for all trials.

<out>/sweeps/<name>/    the question, every trial, best.json, trials.csv, plots
    runs, store, exams  of its trials: nothing of them gets among concepts that are served
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cluster.driver import View
from cluster.engines import EngineSettings
from cluster.forecast import count_lanes, fitted
from cluster.job import run_job
from cluster.job_settings import JobSettings
from cluster.lease import Lease, Owner, Renewal, Watch, take_lease
from cluster.plan import JobPlan
from cluster.sweeping.board import Posts
from cluster.sweeping.desk import Desk, Lanes
from cluster.sweeping.feed import Feed
from cluster.sweeping.ledger import Ledger
from cluster.sweeping.question import Question
from cluster.sweeping.results import BEST_FILE, Results, numbers
from cluster.sweeping.trial import Trial
from cluster.sweeping.watching import Watch as RunWatch
from unictokens.cli.progress import Bars
from unictokens.errors import ConfigError, DependencyError
from unictokens.output import Output
from unictokens.tracking.address import shown
from unictokens.tracking.base import Status
from unictokens.tracking.tracked import Tracked, TrackedEntry

PLANNED = 64
"""Runs for which memory is planned, at most."""
LEASE = "sweep"
JOB = "trials"
"""The job of a sweep, whose folder is below the sweep's own."""


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """Where and on what a session works. `lanes` and `width` as in `JobSettings`; `uri` of MLflow, None for none."""

    out: Path
    name: str
    engine: EngineSettings
    lanes: int
    width: int
    uri: str | None
    resume: bool


class Session:
    """Not to be used by two at a time: see `alone`."""

    def __init__(self, console: Console, question: Question, settings: SessionSettings) -> None:
        self._console = console
        self._question = question
        self._settings = settings
        self._ledger = Ledger(settings.out, settings.name)
        self.folder = self._ledger.folder

    def alone(self) -> Renewal:
        """The right to drive this sweep, kept until the block ends. Raises ConfigError while somebody else has it."""
        Output(self.folder).prepare()
        lease = take_lease(self.folder, LEASE, Owner.here(self._ledger.name), Watch())
        if not isinstance(lease, Lease):
            raise ConfigError(
                f"sweep '{self._ledger.name}' is being driven by {lease}: wait for it, stop it, or give another --name"
            )
        return Renewal(lease)

    def run(self) -> tuple[Results, bool]:
        """Search what is left, then write and show what was found; also whether the sweep came to its end."""
        question, uri = self._question, self._settings.uri
        known = self._ledger.open(question.asked, self._settings.resume)
        self._console.print(self._opening(known), highlight=False)
        tags = {"kind": "sweep", "space": question.space.name, "data": question.data.name}
        tracking = TrackedEntry(Tracked(self.folder, uri), f"sweep-{self._ledger.name}", tags)
        status: Status = "failed"
        try:
            trials, complete = self._search(known, tracking)
            results = Results(self._ledger.name, question.space, question.objective, question.config, trials)
            self._publish(results, tracking)
            status = "stopped" if not complete else "failed" if results.best is None else "finished"
            return results, complete
        finally:
            if left := tracking.close(status):
                self._console.print(left, markup=False)

    def _search(self, known: Sequence[Trial], tracking: TrackedEntry) -> tuple[tuple[Trial, ...], bool]:
        question, settings = self._question, self._settings
        if sum(trial.parent is None for trial in known) >= question.count and all(trial.over for trial in known):
            return tuple(known), True
        each = question.planner.runs_of_a_trial
        runs = question.count * each
        names = (list(question.concepts) * min(runs, PLANNED))[: min(runs, PLANNED)]
        engine, width = fitted(
            self._console, question.config, settings.engine, question.catalog, names, settings.lanes, settings.width
        )
        at_once = max(1, -(-count_lanes(settings.lanes, engine, runs) * width // each))
        sitting = question.sitting(self.folder)

        def make(lanes: Lanes, board: Posts) -> Desk:
            return Desk(
                question.planner,
                question.sampler(),
                RunWatch(Output(self.folder), question.objective, sitting),
                self._ledger,
                known,
                lanes,
                board,
                trials=question.count,
                at_once=at_once,
                population=question.population(),
                tell=lambda trial: _track(tracking, trial),
            )

        feed = Feed(make, question.rule, self.folder / "ray")
        job = JobSettings(
            data=question.data,
            output=self.folder,
            engine=engine,
            lanes=settings.lanes,
            width=width,
            tracking_uri=settings.uri,
            above=tracking.inner.above,
            registered=False,
            afterwards=sitting,
        )
        plan = JobPlan(question.concepts, (), called=JOB, more=runs)
        with Bars(self._console) as bars:

            def watch(view: View) -> None:
                feed.watch(view)
                self._show(bars, feed.desk, view)

            run_job(plan, job, watch, feed)
        desk = feed.desk
        assert desk is not None, "a job that ended had its feed open"
        return desk.all, desk.exhausted and all(trial.over for trial in desk.all)

    def _show(self, bars: Bars, desk: Desk | None, view: View) -> None:
        question = self._question
        trials = () if desk is None else desk.all
        over, total = sum(trial.over for trial in trials), max(question.count, len(trials))
        best = Results("", question.space, question.objective, question.config, trials).best
        name = question.objective.first.name
        said = "" if best is None else f", best {name} {best.mean(name):.4g}"
        bars.show("trials", over / total, f"{over} of {total}", f"{view.counts.get('running', 0)} runs{said}")

    def _publish(self, results: Results, tracking: TrackedEntry) -> None:
        self._console.print(results.table())
        try:
            files = results.write(self.folder)
        except DependencyError as error:
            files = []
            self._console.print(str(error), style="red", markup=False)
        whole = ("config", "exam", "data", "space")
        asked = {key: value for key, value in self._question.asked.plain().items() if key not in whole}
        space = {f"space.{path}": domain.text for path, domain in self._question.space.domains.items()}
        tracking.tracker.params({**asked, **space})
        tracking.tracker.metrics(len(results.trials), numbers(results))
        for file in files:
            tracking.tracker.artifact(file)
        if self._settings.uri is not None:
            self._console.print(f"tracked in {shown(self._settings.uri)}", markup=False)
        if results.best is not None:
            self._console.print(f"best: --config {self.folder / BEST_FILE}", markup=False)

    def _opening(self, known: Sequence[Trial]) -> str:
        question, over = self._question, sum(trial.over for trial in known)
        before = f" ({over} are there already)" if over else ""
        goals = ", ".join(f"{metric.name} ({metric.goal})" for metric in question.objective.metrics)
        return (
            f"sweep {self._ledger.name}: {question.count} trials{before}, each {len(question.concepts)} concepts, "
            f"{question.seeds} seeds; {question.search} search, scheduler {question.scheduler}; {goals}"
        )


def _track(tracking: TrackedEntry, trial: Trial) -> None:
    """An entry for a trial that is over, nested in the sweep's."""
    tracker = tracking.inner.tracker(f"trial-{trial.number:03d}", {"kind": "trial", "state": trial.state})
    tracker.params({**trial.sample, **({"parent": trial.parent} if trial.parent is not None else {})})
    for epoch, value in trial.curve:
        tracker.metrics(epoch, {"watched": value})
    means = {name: mean for name in trial.scores if (mean := trial.mean(name)) is not None}
    spreads = {f"{name}/spread": spread for name in trial.scores if (spread := trial.spread(name)) is not None}
    if means:
        tracker.metrics(trial.epochs, {**means, **spreads})
    tracker.close("finished" if trial.state == "finished" else "stopped" if trial.state == "stopped" else "failed")
