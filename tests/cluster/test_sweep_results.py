"""What a sweep finds: the best configuration is one, searches find better samples, nothing is claimed of what was not finished."""

import csv
import json
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest

from cluster.sweeping.importance import importance
from cluster.sweeping.objective import METRICS, Objective, dominates
from cluster.sweeping.results import Results, numbers
from cluster.sweeping.samplers import GridSampler, RandomSampler
from cluster.sweeping.trial import Trial
from tune_spaces.domain import Choice, FloatRange, IntRange
from tune_spaces.space import Sample, Space
from tune_spaces.spaces import SPACES
from unictokens.config import PRESETS, load_config, override
from unictokens.errors import ConfigError

DEMO = PRESETS["demo"]
TOKENS = SPACES["token_budget"]


def finished(number: int, sample: Sample, **scores: list[float]) -> Trial:
    found = {name: {"bo": values} for name, values in scores.items()}
    return Trial(number=number, sample=sample, state="finished", curve=((1, 2.0), (2, 1.0)), scores=found)


def some_trials() -> tuple[Trial, ...]:
    samples = [
        dict(zip(TOKENS.domains, counts, strict=True)) for counts in ((16, 8, 8), (4, 2, 2), (8, 4, 4), (2, 1, 1))
    ]
    recs, tokens = ([0.9, 0.8], [0.8, 0.9], [0.5], [0.6]), (32.0, 8.0, 16.0, 4.0)
    trials = [
        finished(number, sample, rec=rec, tokens=[count])
        for number, (sample, rec, count) in enumerate(zip(samples, recs, tokens, strict=True))
    ]
    stopped = Trial(number=4, sample=samples[0], state="stopped", curve=((1, 0.1),))
    failed = Trial(
        number=5, sample={**samples[0], "layout.shared": 3}, state="failed", error="its [loss] is not finite"
    )
    return (*trials, stopped, failed)


def results(metric: str = "rec,tokens") -> Results:
    return Results("s", TOKENS, Objective.parse(metric), override(DEMO, {"seed": 3}), some_trials())


def test_the_best_configuration_is_one_that_training_takes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = results().write(tmp_path)
    config = load_config(str(tmp_path / "best.json"))
    assert (config.layout.shared, config.layout.generation, config.layout.understanding) == (4, 2, 2)
    assert config == override(DEMO, {"seed": 3, "layout.shared": 4, "layout.generation": 2, "layout.understanding": 2})
    assert {file.name for file in files} >= {
        "best.json",
        "trials.csv",
        "trials.json",
        "pareto.json",
        "pareto.png",
        "parallel.png",
    }
    assert all(file.stat().st_size > 0 for file in files)


def test_equal_quality_goes_to_the_second_metric_and_the_unfinished_are_no_candidates() -> None:
    assert [trial.number for trial in results().ranked] == [1, 0, 3, 2]
    assert results("rec").best == some_trials()[0], "without it, to the earlier trial"
    assert [trial.number for trial in results().front] == [1, 3]
    nothing = Results("s", TOKENS, Objective.parse("rec"), DEMO, some_trials()[4:])
    assert nothing.best is None and nothing.best_config is None and nothing.front == ()


def test_every_trial_has_a_line_with_mean_and_spread(tmp_path: Path) -> None:
    results().write(tmp_path)
    lines = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [line["state"] for line in lines] == ["finished"] * 4 + ["stopped", "failed"]
    assert float(lines[0]["rec"]) == pytest.approx(0.85) and float(lines[0]["rec spread"]) == pytest.approx(
        0.0707, abs=1e-4
    )
    assert lines[4]["rec"] == "" and lines[5]["error"] == "its [loss] is not finite"
    assert [Trial.read(each, "x") for each in json.loads((tmp_path / "trials.json").read_text())] == list(some_trials())
    assert numbers(results())["best/rec"] == pytest.approx(0.85) and numbers(results())["trials_failed"] == 1
    assert results().table().row_count == 6


def test_importance_finds_the_setting_that_matters_and_gives_chance_nothing() -> None:
    domains = {"a": FloatRange(0, 1), "b": FloatRange(0, 1), "c": Choice(("x", "y"))}
    random, by_chance = Random(0), []
    for _ in range(40):
        samples = [{path: domain.sample(random) for path, domain in domains.items()} for _ in range(30)]
        shares = importance(domains, samples, [sample["a"] ** 2 + 0.05 * random.random() for sample in samples])
        assert next(iter(shares)) == "a" and shares["a"] > 0.6
        by_chance.append(shares["b"])
    assert sum(by_chance) / len(by_chance) < 0.06
    assert importance(domains, samples[:3], [1.0, 2.0, 3.0]) == {} == importance(domains, samples, [1.0] * 30)


def test_metrics_are_named_and_contradictions_refused() -> None:
    assert Objective.parse("rec, tokens").names == ("rec", "tokens")
    assert Objective.parse("clip-i").drawn and Objective.parse("rec").examined and not Objective.parse("rec").drawn
    assert not Objective.parse("understanding_loss").examined and Objective.parse("no_recall").names == ("no recall",)
    for given, named in (("recc", "unknown"), ("rec,rec", "twice"), ("tokens", "quality"), ("total_loss", "unknown")):
        with pytest.raises(ConfigError, match=named):
            Objective.parse(given)
    with pytest.raises(ConfigError, match="--watch"):
        Objective.parse("rec", "rec")
    both = (METRICS["rec"], METRICS["tokens"])
    assert dominates((0.9, 4), (0.9, 8), both) and not dominates((0.9, 8), (0.8, 4), both)
    assert not dominates((0.9, 4), (0.9, 4), both)


def test_a_random_search_is_a_function_of_its_seed_and_never_repeats_itself() -> None:
    small = Space("s", "", {"layout.shared": Choice((1, 2, 3)), "layout.generation": Choice((1, 2))})
    first, second = RandomSampler(small, 5), RandomSampler(small, 5)
    drawn = [first.ask(number) for number in range(7)]
    assert len({str(sample) for sample in drawn[:6]}) == 6 and drawn[6] is None
    for number in range(3):
        second.recall(number, drawn[number] or {})
    assert [second.ask(number) for number in range(3, 6)] == drawn[3:6], "also after a pause"
    with pytest.raises(ConfigError, match="no longer on the grid"):
        GridSampler(small, 3).recall(0, {"layout.shared": 9})


@pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
def test_optuna_comes_nearer_than_chance_and_remembers_an_earlier_session() -> None:
    from cluster.sweeping.optuna_sampler import OptunaSampler

    space = Space(
        "s",
        "",
        {"a": FloatRange(1e-4, 1.0, log=True), "k": IntRange(1, 32, log=True), "c": Choice(([1], [2], "x"))},
    )

    def loss(sample: Sample) -> float:
        return abs(sample["a"] - 0.01) * 10 + abs(sample["k"] - 8) / 8 + (sample["c"] != [2])

    sampler, objective, seen = None, Objective.parse("understanding_loss"), []
    for number in range(40):
        if number % 20 == 0:  # a new session is told what the last one saw
            sampler = OptunaSampler(space, objective, 0)
            for at, (sample, value) in enumerate(seen):
                sampler.recall(at, sample)
                sampler.tell(at, None if at == 3 else [value], ((1, 5.0),))
        assert sampler is not None
        sample = sampler.ask(number)
        assert sample is not None and json.loads(json.dumps(sample)) == sample
        seen.append((sample, loss(sample)))
        sampler.tell(number, None if number == 3 else [seen[-1][1]], ((1, 5.0),))
    late = sorted(value for _, value in seen[20:])
    chance = sorted(loss(space.sample(Random(number))) for number in range(20))
    assert late[10] < chance[10] and late[0] < 0.5


@pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
def test_optuna_takes_several_metrics_and_trials_without_any() -> None:
    from cluster.sweeping.optuna_sampler import OptunaSampler

    sampler = OptunaSampler(TOKENS, Objective.parse("rec,tokens"), 0)
    for number in range(12):
        sample = sampler.ask(number)
        assert sample is not None and 1 <= sample["layout.shared"] <= 32
        sampler.tell(number, None if number % 3 == 0 else [0.5, float(sum(sample.values()))], ((1, 1.0),))
