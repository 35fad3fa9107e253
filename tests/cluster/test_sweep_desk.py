"""A sweep without Ray: fake lanes that train by writing histories, and a loop in place of Tune."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.run_status import RunStatus
from cluster.sweeping.board import Board
from cluster.sweeping.desk import Desk, Over
from cluster.sweeping.ledger import Asked, Ledger
from cluster.sweeping.objective import Objective
from cluster.sweeping.planner import TrialPlanner
from cluster.sweeping.population import Population
from cluster.sweeping.samplers import GridSampler, RandomSampler, Sampler
from cluster.sweeping.trial import Trial
from cluster.sweeping.watching import Watch
from tune_spaces.domain import Choice, FloatRange
from tune_spaces.space import Space
from unictokens.config import PRESETS, RunConfig, override
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError, StorageError
from unictokens.learn import Output, RunPlan

STAGES = ("warmup", "bootstrap", "deepen")
BASE = override(PRESETS["demo"], {f"stages.{stage}.epochs": 2 for stage in STAGES})
RATES = Space("rates", "", {f"stages.{stage}.optim.lr": FloatRange(0.001, 1.0, log=True) for stage in STAGES})


def loss_of(config: RunConfig, epoch: int) -> float:
    """What fake training reaches: the nearer the last rates are to 0.1, the better."""
    return sum(abs(getattr(config.stages, stage).optim.lr - 0.1) for stage in STAGES[: (epoch + 1) // 2]) + 1 / epoch


class FakeLanes:
    """Trains every run that was added by one epoch per `work`, in its own files."""

    def __init__(self, output: Path, broken: Callable[[RunPlan], bool] = lambda plan: False) -> None:
        self.output, self.broken = Output(output), broken
        self.runs: dict[str, tuple[RunPlan, RunStatus]] = {}
        self.stopped: list[str] = []
        self.closed = False

    def add(self, runs: Sequence[RunPlan]) -> None:
        for run in runs:
            self.runs.setdefault(run.name, (run, RunStatus(name=run.name, concept=run.concept)))

    def stop_run(self, name: str) -> None:
        run, status = self.runs[name]
        self.stopped.append(name)
        self.runs[name] = (run, replace(status, state="stopped", error="stopped early"))

    def close(self) -> None:
        self.closed = True

    def work(self) -> None:
        for name, (run, status) in self.runs.items():
            if status.over:
                continue
            if self.broken(run):
                self.runs[name] = (run, replace(status, state="failed", error="its loss is not finite"))
                continue
            path = self.output.run_folder(name) / "history.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
            if len(lines) < 6:
                epoch = len(lines) + 1
                stage = STAGES[(epoch - 1) // 2]
                losses = {"understanding": loss_of(run.config, epoch) + run.config.seed, "total": 0.0}
                record = {"number": (epoch - 1) // 2, "stage": stage, "epoch": (epoch - 1) % 2 + 1, "steps": 3}
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join([*lines, json.dumps({**record, "losses": losses, "seconds": 1.0})]) + "\n")
                lines.append("")
            done = len(lines) == 6
            state = "finished" if done else "running"
            self.runs[name] = (run, replace(status, state=state, epoch=len(lines), version=1 if done else None))

    @property
    def statuses(self) -> tuple[RunStatus, ...]:
        return tuple(status for _, status in self.runs.values())


class Loop:
    """Tune in fifty lines: asks, reads the board, lets a rule end trials."""

    def __init__(self, desk: Desk, lanes: FakeLanes, board: Board, poor: Callable[[int, dict[str, Any]], bool]) -> None:
        self.desk, self.lanes, self.board, self.poor = desk, lanes, board, poor
        self.at: dict[int, int] = {}
        self.reports: dict[int, list[dict[str, Any]]] = {}
        self.widest = 0

    def run(self, rounds: int = 200) -> bool:
        """False when the rounds are over before the sweep."""
        over = False
        for _ in range(rounds):
            while not over and (number := self.desk.propose()) is not None:
                if isinstance(number, Over):
                    over = True
                else:
                    self.at[number] = 0
            self.widest = max(self.widest, len(self.at))
            self.lanes.work()
            self.desk.follow(self.lanes.statuses)
            for number in list(self.at):
                self._read(number)
            if over and not self.at:
                return True
            over = False
        return False

    def _read(self, number: int) -> None:
        while (report := self.board.read(number, self.at[number])) is not None:
            self.at[number] += 1
            self.reports.setdefault(number, []).append(report)
            if report.get("done") or self.poor(number, report):
                self.desk.ended(number)
                del self.at[number]
                return


def never(number: int, report: dict[str, Any]) -> bool:
    return False


class Bench:
    """Everything of one session of a sweep."""

    def __init__(self, toyland: Path, out: Path, sampler: Sampler, **more: Any) -> None:
        self.planner = TrialPlanner(Catalog.open(toyland), more.pop("concepts", ("bo",)), more.pop("seeds", 1), BASE)
        self.ledger = Ledger(out, "s")
        self.lanes = FakeLanes(out, more.pop("broken", lambda plan: False))
        self.board = Board()
        objective = Objective.parse(more.pop("metric", "understanding_loss"))
        known = self.ledger.open(asked(trials=more["trials"]), resume=self.ledger.begun)
        watch = Watch(Output(out), objective)
        poor = more.pop("poor", never)
        self.desk = Desk(self.planner, sampler, watch, self.ledger, known, self.lanes, self.board, at_once=3, **more)
        self.loop = Loop(self.desk, self.lanes, self.board, poor)

    @property
    def trials(self) -> list[Trial]:
        return [self.desk.trials[number] for number in sorted(self.desk.trials)]


def asked(**changed: Any) -> Asked:
    values: dict[str, Any] = {
        "space": {},
        "config": {},
        "data": {},
        "seeds": 1,
        "search": "random",
        "scheduler": "none",
        "metrics": ("understanding_loss",),
        "watched": "understanding_loss",
        "seed": 0,
        "levels": 3,
        "grace": 1,
        "reduction": 3,
        "exam": {},
        "trials": 4,
    }
    return Asked(**{**values, **changed})


def test_every_trial_is_runs_of_every_concept_and_seed_and_its_means_are_reported_by_epoch(
    toyland: Path, tmp_path: Path
) -> None:
    bench = Bench(toyland, tmp_path, RandomSampler(RATES, 0), trials=5, concepts=("bo", "miru"), seeds=2)
    assert bench.loop.run() and bench.desk.exhausted and bench.loop.widest == 3
    for trial in bench.trials:
        assert trial.state == "finished" and len(trial.runs) == 4
        assert [epoch for epoch, _ in trial.curve] == [1, 2, 3, 4, 5, 6]
        values = trial.scores["understanding_loss"]
        assert list(values) == ["bo", "miru"] and len(values["bo"]) == 2
        config = bench.planner.config(trial.sample)
        assert trial.mean("understanding_loss") == pytest.approx(loss_of(config, 6) + 0.5), "the mean of seeds 0 and 1"
        assert trial.spread("understanding_loss") == pytest.approx(3**-0.5)
        reports = bench.loop.reports[trial.number]
        assert [report["epochs"] for report in reports] == [1, 2, 3, 4, 5, 6]
        assert [report.get("done", False) for report in reports] == [False] * 5 + [True]
        assert reports[-1]["understanding_loss"] == trial.mean("understanding_loss")


def test_a_stopped_trial_frees_its_places_at_once_and_the_next_one_begins(toyland: Path, tmp_path: Path) -> None:
    def poor(number: int, report: dict[str, Any]) -> bool:
        return number in (0, 2) and report["epochs"] >= 2

    bench = Bench(toyland, tmp_path, RandomSampler(RATES, 0), trials=5, poor=poor)
    assert bench.loop.run()
    assert [trial.state for trial in bench.trials] == ["stopped", "finished", "stopped", "finished", "finished"]
    assert bench.lanes.stopped == [bench.trials[0].runs[0], bench.trials[2].runs[0]]
    assert [trial.epochs for trial in bench.trials] == [2, 6, 2, 6, 6]


@pytest.mark.parametrize("killed_after", [1, 3, 6, 8])
def test_a_killed_sweep_loses_and_doubles_no_trial(toyland: Path, tmp_path: Path, killed_after: int) -> None:
    def poor(number: int, report: dict[str, Any]) -> bool:
        return number == 1 and report["epochs"] >= 3

    whole = Bench(toyland, tmp_path / "whole", RandomSampler(RATES, 0), trials=7, poor=poor)
    assert whole.loop.run()
    out = tmp_path / "killed"
    first = Bench(toyland, out, RandomSampler(RATES, 0), trials=7, poor=poor)
    assert not first.loop.run(killed_after)
    before = {trial.number: trial for trial in first.trials}
    second = Bench(toyland, out, RandomSampler(RATES, 0), trials=7, poor=poor)
    assert second.loop.run()
    for mine, theirs in zip(second.trials, whole.trials, strict=True):
        assert replace(mine, seconds=0) == replace(theirs, seconds=0)
    trained = {name for name in second.lanes.runs}
    for trial in before.values():
        assert not (trial.over and set(trial.runs) & trained), "what was over is answered from its file"
    for trial in second.trials:
        lines = (out / "runs" / trial.runs[0] / "history.jsonl").read_text().splitlines()
        assert len(lines) <= 6, "runs go on from their own state"
    assert [report["epochs"] for report in second.loop.reports[0]] == [1, 2, 3, 4, 5, 6], (
        "the scheduler hears all again"
    )


def test_an_ended_sweep_goes_further_with_more_trials(toyland: Path, tmp_path: Path) -> None:
    first = Bench(toyland, tmp_path, RandomSampler(RATES, 0), trials=2)
    assert first.loop.run()
    second = Bench(toyland, tmp_path, RandomSampler(RATES, 0), trials=4)
    assert second.loop.run() and len(second.trials) == 4
    assert second.trials[:2] == first.trials and len(second.lanes.runs) == 2


def test_a_failed_run_fails_its_trial_alone(toyland: Path, tmp_path: Path) -> None:
    def broken(plan: RunPlan) -> bool:
        return plan.concept == "miru" and plan.config.stages.deepen.optim.lr > 0.1

    sampler = GridSampler(Space("s", "", {"stages.deepen.optim.lr": Choice((0.05, 0.5))}), 3)
    bench = Bench(toyland, tmp_path, sampler, trials=2, concepts=("bo", "miru"), broken=broken)
    assert bench.loop.run()
    good, bad = bench.trials
    assert good.state == "finished" and bad.state == "failed" and "not finite" in bad.error
    assert len(bench.lanes.stopped) == 2, "the other concept of the failed trial is not trained on"


def test_a_sample_that_no_run_can_follow_is_refused_and_the_others_go_on(toyland: Path, tmp_path: Path) -> None:
    sampler = GridSampler(Space("s", "", {"stages.bootstrap.start_epoch": Choice((1, 9))}), 3)
    bench = Bench(toyland, tmp_path, sampler, trials=2)
    assert bench.loop.run()
    assert [trial.state for trial in bench.trials] == ["finished", "failed"] and "start_epoch" in bench.trials[1].error


def test_trials_that_begin_alike_learn_that_once(toyland: Path, tmp_path: Path) -> None:
    sampler = GridSampler(Space("s", "", {"stages.deepen.optim.lr": Choice((0.05, 0.5))}), 3)
    bench = Bench(toyland, tmp_path, sampler, trials=2)
    assert bench.loop.run()
    first, second = (run for run, _ in bench.lanes.runs.values())
    assert first.branch is None and second.branch is not None
    assert (second.branch.run, second.branch.stages) == (first.name, 2)


def test_a_population_replaces_poor_trials_by_children_that_are_what_their_configuration_says(
    toyland: Path, tmp_path: Path
) -> None:
    population = Population(RATES, 0, (2, 4))
    bench = Bench(toyland, tmp_path, RandomSampler(RATES, 0), trials=8, population=population)
    bench.loop.poor = lambda number, report: bench.desk.poor(number, report["epochs"])
    assert bench.loop.run()
    children = [trial for trial in bench.trials if trial.parent is not None]
    stopped = [trial for trial in bench.trials if trial.state == "stopped"]
    assert len(bench.trials) == 8 + len(children) and len(children) == len(stopped) > 0
    for child in children:
        assert child.parent is not None
        parent = bench.desk.trials[child.parent]
        same = [child.sample[path] == parent.sample[path] for path in RATES.domains]
        assert same[0] and same in ([True, False, False], [True, True, False]), "stages behind it are its parent's"
        run, _ = bench.lanes.runs[child.runs[0]]
        assert run.branch is not None and run.branch.stages == sum(same)
    again = Bench(toyland, tmp_path, RandomSampler(RATES, 0), trials=8, population=Population(RATES, 0, (2, 4)))
    again.loop.poor = lambda number, report: again.desk.poor(number, report["epochs"])
    assert again.loop.run() and again.trials == bench.trials and not again.lanes.runs


def test_a_population_refuses_what_a_run_is_made_of() -> None:
    for path in ("layout.shared", "stages.*.optim.lr", "perception.sampling.guidance"):
        with pytest.raises(ConfigError, match="pbt cannot search"):
            Population(Space("s", "", {path: FloatRange(1, 2)}), 0, (2, 4))


def test_a_sweep_goes_on_only_with_the_same_question(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "s")
    assert ledger.open(asked(), resume=False) == ()
    with pytest.raises(ConfigError, match="--resume"):
        ledger.open(asked(), resume=False)
    with pytest.raises(ConfigError, match="another seeds"):
        ledger.open(asked(seeds=2), resume=True)
    ledger.write(Trial(number=0, sample={"layout.shared": 4}))
    assert ledger.open(asked(trials=9), resume=True) == (Trial(number=0, sample={"layout.shared": 4}),)
    (ledger.folder / "trials" / "0000.json").write_text("{")
    with pytest.raises(StorageError, match=r"0000\.json' is damaged"):
        ledger.open(asked(), resume=True)
    (ledger.folder / "trials" / "0000.json").write_text('{"number": 0}')
    with pytest.raises(StorageError, match=r"0000\.json' is damaged"):
        ledger.open(asked(), resume=True)
