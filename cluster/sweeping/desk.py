"""The middle of a sweep: turns the search's proposals into runs of the lanes, and what the runs wrote into reports for the scheduler.

Two threads meet here: Tune's (`propose`, `ended`, `poor`) and the job's (`follow`).
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from cluster.run_status import RunStatus
from cluster.sweeping.board import Posts, Report
from cluster.sweeping.ledger import Ledger
from cluster.sweeping.planner import Planned, TrialPlanner
from cluster.sweeping.population import Population
from cluster.sweeping.samplers import Sampler
from cluster.sweeping.trial import Trial
from cluster.sweeping.watching import Watch
from unictokens.errors import UniCTokensError
from unictokens.learn import RunPlan
from unictokens.training.history import EpochRecord

log = logging.getLogger(__name__)


class Lanes(Protocol):
    """What a sweep needs of a running job."""

    def add(self, runs: Sequence[RunPlan]) -> None:
        """Hand runs out as soon as there is a place; those that are known already are left alone."""
        ...

    def stop_run(self, name: str) -> None:
        """End a run: at once while it waits, else after its epoch. What it saved stays."""
        ...

    def close(self) -> None:
        """Nothing more will be added: lanes may end."""
        ...


@dataclass(frozen=True)
class Over:
    """There is nothing more to propose."""


@dataclass
class _Live:
    """A trial under way: `seen` is what the queue last said of its runs, `said` how many epochs were reported."""

    trial: Trial
    runs: tuple[Planned, ...]
    total: int
    started: float
    complete: set[str] = field(default_factory=set)
    histories: dict[str, tuple[EpochRecord, ...]] = field(default_factory=dict)
    seen: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    said: int = 0


class Desk:
    """One sweep under way. `exhausted` says whether everything was proposed."""

    def __init__(
        self,
        planner: TrialPlanner,
        sampler: Sampler,
        watch: Watch,
        ledger: Ledger,
        known: Sequence[Trial],
        lanes: Lanes,
        board: Posts,
        *,
        trials: int,
        at_once: int,
        population: Population | None = None,
        tell: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        """known    trials of earlier sessions, in order
        trials   how many samples are asked of the search
        at_once  trials under way together, at most
        tell     is told of every trial that is over
        """
        self.trials: dict[int, Trial] = {trial.number: trial for trial in known}
        self.exhausted = False
        self._planner = planner
        self._sampler = sampler
        self._watch = watch
        self._ledger = ledger
        self._lanes = lanes
        self._board = board
        self._limit = trials
        self._at_once = at_once
        self._population = population
        self._told = tell
        self._live: dict[int, _Live] = {}
        self._places: dict[int, int] = {}
        self._children: list[Trial] = []
        self._next = 0
        self._asked = 0
        self._closed = False
        self._lock = threading.RLock()
        for trial in known:
            self._recall(trial)

    @property
    def all(self) -> tuple[Trial, ...]:
        """Every trial so far, in order."""
        with self._lock:
            return tuple(self.trials[number] for number in sorted(self.trials))

    def propose(self) -> int | Over | None:
        """Begin the next trial and return its number; None while enough are under way."""
        with self._lock:
            if self._closed:
                return Over()
            if len(self._live) >= self._at_once:
                return None
            trial = self.trials.get(self._next) or self._new()
            if trial is None:
                # A population may still grow while trials are under way.
                if self._population is not None and self._live:
                    return None
                self.exhausted = True
                return Over()
            self._next += 1
            if trial.over:
                self._replay(trial)
            else:
                self._begin(trial)
            return trial.number

    def follow(self, statuses: Sequence[RunStatus]) -> None:
        """Look how far the runs are, and report it."""
        states = {status.name: status for status in statuses}
        with self._lock:
            for live in list(self._live.values()):
                self._look(live, states)

    def poor(self, number: int, epochs: int) -> bool:
        """Whether a population gives up a trial here for a child of a better one."""
        with self._lock:
            live = self._live.get(number)
            if self._population is None or live is None:
                return False
            stage, value = self._population.stage_end(epochs), dict(live.trial.curve).get(epochs)
            if stage is None or value is None:
                return False
            self._population.note(number, live.trial.sample, stage, value)
            child = self._population.judge(number, stage, len(self.trials) + len(self._children))
            if child is not None:
                self._children.append(child)
            return child is not None

    def ended(self, number: int) -> None:
        """Tune is done with a trial; one that was still under way was stopped by the scheduler, and its places become free."""
        with self._lock:
            live = self._live.pop(number, None)
            if live is None or self._closed:
                return
            needed = {run.plan.name for other in self._live.values() for run in other.runs}
            for run in live.runs:
                if run.plan.name not in needed | live.complete:
                    self._lanes.stop_run(run.plan.name)
            self._over(live, live.trial.ended("stopped"), None)

    def close(self) -> None:
        """End the sweep, wherever it is; trials under way can be gone on with."""
        with self._lock:
            self._closed = True
        self._board.close()
        self._lanes.close()

    def _recall(self, trial: Trial) -> None:
        if self._population is not None and trial.over:
            for epochs, value in trial.curve:
                stage = self._population.stage_end(epochs)
                if stage is not None:
                    self._population.note(trial.number, trial.sample, stage, value)
        if trial.parent is None:
            self._places[trial.number] = self._asked
            self._sampler.recall(self._asked, trial.sample)
            self._asked += 1
            if trial.over:
                self._tell(trial)

    def _new(self) -> Trial | None:
        number = self._next
        if self._children:
            trial = replace(self._children.pop(0), number=number)
        else:
            sample = self._sampler.ask(self._asked) if self._asked < self._limit else None
            if sample is None:
                return None
            self._places[number] = self._asked
            self._asked += 1
            trial = Trial(number=number, sample=sample)
        self._keep(trial)
        return trial

    def _begin(self, trial: Trial) -> None:
        try:
            runs = self._planner.runs(trial.sample)
        except UniCTokensError as error:
            self._refuse(trial, str(error))
            return
        trial = replace(trial, runs=tuple(run.plan.name for run in runs))
        self._keep(trial)
        total = sum(epochs for _, epochs in runs[0].plan.stages)
        live = self._live[trial.number] = _Live(trial, runs, total, time.monotonic())
        live.complete = {run.plan.name for run in runs if self._watch.complete(run.plan)}
        left = [run.plan for run in runs if run.plan.name not in live.complete]
        if left:
            self._lanes.add(left)

    def _replay(self, trial: Trial) -> None:
        """Tell the scheduler what an earlier session saw: it compares the others with it."""
        reports: list[Report] = [{"epochs": epoch, "watched": value} for epoch, value in trial.curve]
        last = reports.pop() if reports else {"epochs": 0}
        self._board.post(trial.number, [*reports, {**last, "done": True}])

    def _look(self, live: _Live, states: Mapping[str, RunStatus]) -> None:
        try:
            for run in live.runs:
                self._look_at(live, run.plan, states.get(run.plan.name))
            failed = [status for run in live.runs if (status := states.get(run.plan.name)) and status.state == "failed"]
            if failed:
                self._fail(live, failed[0].error)
                return
            self._report(live)
        except UniCTokensError as error:
            self._fail(live, str(error))

    def _look_at(self, live: _Live, plan: RunPlan, status: RunStatus | None) -> None:
        seen = (status.state, status.stage, status.epoch) if status is not None else ("", "", 0)
        if live.seen.get(plan.name) == seen:
            return
        live.seen[plan.name] = seen
        live.histories[plan.name] = self._watch.records(plan)
        if status is not None and status.state == "finished":
            live.complete.add(plan.name)

    def _report(self, live: _Live) -> None:
        """Report epochs that all runs have behind them; at the end the scores."""
        histories = [live.histories[run.plan.name] for run in live.runs]
        reports: list[Report] = []
        curve = list(live.trial.curve) if live.said else []
        for epoch in range(live.said + 1, min(map(len, histories)) + 1):
            value = self._watch.watched(histories, epoch)
            if value is not None:
                curve.append((epoch, value))
                if epoch < live.total:
                    reports.append({"epochs": epoch, "watched": value})
            live.said = epoch
        live.trial = replace(live.trial, curve=tuple(curve))
        if reports:
            self._board.post(live.trial.number, reports)
        if live.complete >= {run.plan.name for run in live.runs}:
            scores = self._watch.scores(live.runs)
            trial = live.trial.ended("finished", scores=scores)
            means = {name: trial.mean(name) for name in scores}
            last = {"watched": curve[-1][1]} if curve else {}
            self._over(live, trial, {"epochs": live.total, **last, **means, "done": True})

    def _fail(self, live: _Live, error: str) -> None:
        for run in live.runs:
            if run.plan.name not in live.complete:
                self._lanes.stop_run(run.plan.name)
        log.warning("trial %d failed: %s", live.trial.number, error)
        self._over(live, live.trial.ended("failed", error=error), {"epochs": live.trial.epochs, "done": True})

    def _refuse(self, trial: Trial, error: str) -> None:
        log.warning("trial %d is refused: %s", trial.number, error)
        trial = trial.ended("failed", error=error)
        self._keep(trial)
        self._tell(trial)
        self._board.post(trial.number, [{"epochs": 0, "done": True}])

    def _over(self, live: _Live, trial: Trial, report: Report | None) -> None:
        self._live.pop(trial.number, None)
        trial = replace(trial, seconds=round(trial.seconds + time.monotonic() - live.started, 1))
        self._keep(trial)
        self._tell(trial)
        if report is not None:
            self._board.post(trial.number, [report])

    def _tell(self, trial: Trial) -> None:
        if trial.number in self._places:
            means = [trial.mean(name) for name in self._watch.objective.names]
            values = [value for value in means if value is not None]
            whole = trial.state == "finished" and len(values) == len(means)
            self._sampler.tell(self._places[trial.number], values if whole else None, trial.curve)

    def _keep(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        self._ledger.write(trial)
        if trial.over:
            self._told(trial)
