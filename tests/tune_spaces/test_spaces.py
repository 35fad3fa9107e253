"""Spaces: every sample of every one passes the door of the configuration, and a wrong path or value is one line with the way out."""

import json
from pathlib import Path
from random import Random

import pytest

from tune_spaces.domain import Choice, FloatRange, IntRange, read_domain
from tune_spaces.space import Space, apply, places, read_space
from tune_spaces.spaces import SPACES, find_space
from unictokens.config import PRESETS, override
from unictokens.errors import ConfigError


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_sample_is_a_configuration(name: str, preset: str) -> None:
    space = SPACES[name].for_config(PRESETS[preset])
    for number in range(20):
        sample = space.sample(Random(f"0/{number}"))
        assert list(sample) == list(space.domains)
        assert apply(PRESETS[preset], json.loads(json.dumps(sample))) == apply(PRESETS[preset], sample)
    for sample in list(space.grid(2))[:40]:
        apply(PRESETS[preset], sample)


def test_the_users_card_is_searched() -> None:
    assert set(SPACES["token_budget"].domains) == {
        f"layout.{group}" for group in ("shared", "generation", "understanding")
    }
    rates = {f"stages.{stage}.optim.lr" for stage in ("warmup", "bootstrap", "deepen")}
    assert set(SPACES["learning_rates"].domains) == rates
    low_high = {
        preset: SPACES["learning_rates"].for_config(PRESETS[preset]).domains["stages.deepen.optim.lr"].levels(2)
        for preset in ("paper", "demo")
    }
    assert low_high == {"paper": (1e-5, 1e-3), "demo": (0.005, 0.5)}, "around what the configuration has"


def test_the_same_seed_draws_the_same_sample_within_its_range() -> None:
    for domain in (IntRange(1, 32, log=True), IntRange(3, 5), FloatRange(1e-5, 1e-1, log=True), FloatRange(0.0, 1.0)):
        values = [domain.sample(Random(number)) for number in range(300)]
        assert values == [domain.sample(Random(number)) for number in range(300)]
        assert domain.low <= min(values) and max(values) <= domain.high
        assert domain.levels(3)[0] == domain.low and domain.levels(3)[-1] == domain.high
    small = sum(IntRange(1, 32, log=True).sample(Random(number)) <= 5 for number in range(300))
    assert 100 < small < 200, "factors are equally likely, not numbers"
    assert {Choice((1, [2], "x")).sample(Random(number)) == [2] for number in range(30)} == {True, False}


def test_one_value_may_go_to_several_places() -> None:
    base = PRESETS["demo"]
    assert places("stages.*.optim.lr", base) == tuple(
        f"stages.{stage}.optim.lr" for stage in ("warmup", "bootstrap", "deepen")
    )
    changed = apply(base, {"stages.*.optim.lr": 0.03})
    assert {stage.optim.lr for stage in (changed.stages.warmup, changed.stages.bootstrap, changed.stages.deepen)} == {
        0.03
    }
    assert apply(base, {"stages.bootstrap.initial_person.generation": "random"}).stages.bootstrap.initial_person


def test_a_grid_goes_through_all_combinations_and_neighbours_begin_alike() -> None:
    space = Space("s", "", {"stages.warmup.optim.lr": Choice((1, 2)), "stages.deepen.optim.lr": Choice((3, 4, 5))})
    assert [tuple(sample.values()) for sample in space.grid()] == [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)]


def test_a_users_own_space_comes_from_a_file_and_back(tmp_path: Path) -> None:
    for name, space in SPACES.items():
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(space.plain()))
        assert dict(read_space(file).domains) == dict(space.domains) and find_space(str(file)).name == name


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ('{"layout.sharde": {"choice": [4]}}', "'layout.shared'"),
        ('{"stages.deepen.optim.learning_rate": {"choice": [4]}}', "the nearest is"),
        ('{"stages.*.rate": {"choice": [4]}}', r"no setting 'stages\.\*\.rate'"),
        ('{"layout.shared": {"int": [1, 600]}}', r"layout.shared=600.*0 to 512"),
        ('{"layout.shared": {"choice": ["many"]}}', "layout.shared=many"),
        ('{"stages.deepen.optim.lr": {"float": [-1, 1], "log": true}}', "above zero"),
        ('{"stages.deepen.optim.lr": {"float": [2, 1]}}', "must not be above"),
        ('{"stages.deepen.optim.lr": {"float": [0.1]}}', "two ends"),
        ('{"stages.deepen.optim.lr": {"float": ["a", "b"]}}', "numbers"),
        ('{"layout.shared": {"int": [1.5, 3]}}', "two int numbers"),
        ('{"layout.shared": {"choice": []}}', "at least one"),
        ('{"layout.shared": {"choice": 3}}', "is no list"),
        ('{"layout.shared": 3}', "is no range"),
        ('{"layout.shared": {"choice": [3], "log": true}}', "'log' does not go with choice"),
        ('{"layout.shared": {"int": [3, 4], "lgo": true}}', "'lgo'"),
        ('{"backbone": {"float": [0.5, 2], "times": true}}', "no multiples"),
        ('{"stages.*.optim.lr": {"float": [0.5, 2], "times": true}}', "one by one"),
        ("{}", "empty"),
        ("[]", "object of paths"),
        ("{", "readable JSON"),
    ],
)
def test_a_bad_space_is_one_line(given: str, named: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(given)
    with pytest.raises(ConfigError, match=named) as raised:
        find_space(str(file)).for_config(PRESETS["demo"])
    assert "\n" not in str(raised.value)


def test_an_unknown_space_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="token_budget, learning_rates"):
        find_space("tokens")
    with pytest.raises(ConfigError, match="numbers"):
        read_domain("layout.shared", {"int": [True, 3]})
    assert override(PRESETS["demo"], {"layout.shared": 3}).layout.shared == 3
