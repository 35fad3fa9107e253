"""Settings of `python -m serve` are checked as a whole: what is unknown, impossible or contradictory is refused by its name."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve.__main__ import main
from serve.config import ServeConfig, from_dict, load_config, to_json
from unictokens.errors import ConfigError
from unictokens.settings import override

SERVICE = Path(__file__).parents[2] / "cluster" / "manifests" / "service.yaml"

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"fewst": 1}, "unknown setting 'fewst'"),
    "unknown below": ({"models": {"max_ongoing_request": 5}}, "unknown setting 'models.max_ongoing_request'"),
    "unknown limit": ({"limits": {"dedline": 5}}, "unknown setting 'limits.dedline'"),
    "unknown engine": ({"engine": {"canvasses": 5}}, "unknown setting 'engine.canvasses'"),
    "not a number": ({"models": {"most": "many"}}, "setting 'models.most' is 'many'"),
    "no replica": ({"models": {"fewest": 0}}, "setting 'models.fewest' is 0"),
    "fewest above most": ({"models": {"fewest": 3}}, "choose fewest <= most"),
    "port": ({"http": {"port": 0}}, "setting 'http.port' is 0"),
    "endless": ({"models": {"drain_seconds": float("inf")}}, "setting 'models.drain_seconds' is inf"),
    "timer cuts streams": ({"http": {"request_timeout": 100}}, "setting 'http.request_timeout' is 100"),
    "update cuts requests": ({"models": {"drain_seconds": 20}}, "setting 'models.drain_seconds' is 20"),
    "engine ends earlier": ({"engine": {"longest_seconds": 60}}, "'engine.longest_seconds' = 60"),
    "nothing drawn": ({"engine": {"canvases": 0}}, "engine.canvases is 0"),
    "more concepts": ({"limits": {"concepts": 9}}, "setting 'limits.concepts' is 9"),
    "precision": ({"precision": "fp8"}, "setting 'precision' is 'fp8'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_refused_by_name(name: str) -> None:
    values, told = WRONG[name]
    with pytest.raises(ConfigError) as refused:
        from_dict(values)
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_the_printed_settings_are_a_file_that_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["config"]) == 0
    file = tmp_path / "endpoint.json"
    file.write_text(capsys.readouterr().out)
    assert load_config(file, []) == ServeConfig()
    assert load_config(file, ["models.most=4", "teaching=null"]).models.most == 4
    assert main(["config", "--config", str(file), "--set", "models.mots=4"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown setting 'models.mots'")


@pytest.mark.parametrize("text", ["{", "[]", '{"port": 1}'])
def test_wrong_files_are_refused_in_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "endpoint.json"
    file.write_text(text)
    assert main(["--config", str(file)]) == 2
    assert main(["run", "--config", str(tmp_path / "absent.json")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all(line.startswith("error: ") for line in said)


def test_the_manifest_serves_with_settings_that_we_accept() -> None:
    service = yaml.safe_load(SERVICE.read_text())
    given = yaml.safe_load(service["spec"]["serveConfigV2"])
    config = override(ServeConfig(), given["applications"][0]["args"], "")
    assert config.models.gpus == 1 and config.folder.startswith("/shared/")
    assert given["http_options"].get("request_timeout_s") is None
    assert config.http.port == given["http_options"]["port"]
    worker = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    ends = worker["template"]["spec"]["terminationGracePeriodSeconds"]
    assert ends >= config.models.drain_seconds and worker["maxReplicas"] >= config.models.most
    assert json.loads(to_json(config)) == json.loads(to_json(from_dict(json.loads(to_json(config)))))
