"""Settings enter by one door, and wrong ones are named."""

import json
from pathlib import Path

import pytest

from unictokens.config import PRESETS, config_hash, from_dict, load_config, override, parse_settings, to_dict
from unictokens.errors import ConfigError


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_preset_survives_a_round_trip(name: str) -> None:
    config = PRESETS[name]
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_paper_preset_has_the_papers_numbers() -> None:
    paper = PRESETS["paper"]
    stages = (paper.stages.warmup, paper.stages.bootstrap, paper.stages.deepen)
    assert [stage.optim.lr for stage in stages] == [1e-4, 1e-3, 1e-4]
    assert [stage.epochs for stage in stages] == [20, 20, 20]
    assert [stage.understanding_batch for stage in stages] == [4, 1, 1]
    assert (paper.layout.shared, paper.layout.generation, paper.layout.understanding) == (16, 8, 8)


def test_authors_code_preset_differs_where_the_code_does() -> None:
    code = PRESETS["authors_code"]
    assert [stage.optim.lr for stage in (code.stages.warmup, code.stages.deepen)] == [1e-3, 1e-3]
    assert code.stages.bootstrap.start_epoch == 15
    assert code.perception.regions == "painted"
    assert (code.stages.warmup.optim.weight_decay, code.stages.warmup.optim.eps) == (1e-4, 1e-6)


def test_override_changes_only_what_it_names() -> None:
    changed = override(PRESETS["paper"], {"stages.deepen.optim.lr": 2e-4})
    assert changed.stages.deepen.optim.lr == 2e-4
    assert override(changed, {"stages.deepen.optim.lr": 1e-4}) == PRESETS["paper"]


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("stages.deepen.optim.rate", 1e-4, "stages.deepen.optim.rate"),
        ("nowhere.at.all", 1, "nowhere.at.all"),
        ("layout.shared", -1, "layout.shared"),
        ("layout.shared", "many", "layout.shared"),
        ("stages.warmup.epochs", 0, "stages.warmup.epochs"),
        ("stages.warmup.optim.lr", float("nan"), "stages.warmup.optim.lr"),
        ("perception.regions", "all", "perception.regions"),
    ],
)
def test_wrong_setting_is_named(path: str, value: object, named: str) -> None:
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        override(PRESETS["paper"], {path: value})


def test_hash_ignores_previews_and_nothing_else() -> None:
    paper = PRESETS["paper"]
    assert config_hash(override(paper, {"preview.every": 1})) == config_hash(paper)
    assert config_hash(override(paper, {"seed": 1})) != config_hash(paper)


def test_runs_from_before_a_setting_are_known_by_the_same_hash() -> None:
    assert config_hash(PRESETS["paper"]) == "d3fa8f474128d91e"
    before = to_dict(PRESETS["paper"])
    for stage in before["stages"].values():
        del stage["average"]
    assert from_dict(before) == PRESETS["paper"]
    averaged = override(PRESETS["paper"], {"stages.deepen.average": 0.5})
    assert config_hash(averaged) != config_hash(PRESETS["paper"])


def test_settings_are_parsed_as_json_or_text() -> None:
    assert parse_settings(["seed=3", "perception.regions=painted"]) == {"seed": 3, "perception.regions": "painted"}
    with pytest.raises(ConfigError, match="seed"):
        parse_settings(["seed"])


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"stages": {}}', '{"unknown": 1}'])
def test_broken_config_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load_config(str(file))


def test_missing_config_lists_the_presets() -> None:
    with pytest.raises(ConfigError, match="paper"):
        load_config("no-such-preset")
