"""Planning ahead: what does not fit becomes less, or is refused with a change that then fits."""

import json
import shutil
import subprocess
import sys
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster import forecast
from cluster.__main__ import main
from cluster.capacity import Planner, Room
from cluster.engines import EngineSettings
from unictokens.backbones.showo.demand import Load
from unictokens.config import RunConfig, load_config
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError, StorageError
from unictokens.memory import GIB, MIB

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config("demo")


@pytest.fixture(scope="module")
def records(toyland: Path) -> list[ConceptRecord]:
    catalog = Catalog.open(toyland)
    return [catalog.concept(name) for name in catalog.names]


@pytest.fixture(scope="module")
def planner(config: RunConfig, records: list[ConceptRecord]) -> Planner:
    return Planner(config, EngineSettings.of(config), records)


def test_a_pack_that_fits_is_left_alone(planner: Planner) -> None:
    found = planner.fit(8, Room(host=64 * GIB))
    assert (found.width, found.cache_bytes) == (8, planner.engine.cache_bytes)
    assert found.device_bytes == 0 and found.host_bytes > planner.demand.weight_bytes


def test_less_memory_means_a_smaller_cache_and_then_a_narrower_pack(planner: Planner) -> None:
    whole = planner.forecast(8, on_gpu=True)
    need = whole.device_bytes
    kept = min(planner.engine.cache_bytes, planner.work.images * planner.demand.prefix_bytes)
    cached = planner.fit(8, Room(host=64 * GIB, device=int((need - kept // 3) / 0.95)))
    assert cached.width == 8 and cached.cache_bytes < planner.engine.cache_bytes
    narrow = planner.fit(8, Room(host=64 * GIB, device=int((need - kept - 50 * MIB) / 0.95)))
    assert 1 <= narrow.width < 8
    for found in (cached, narrow):
        assert found.device_bytes <= need


@pytest.mark.parametrize(("on_gpu", "width"), [(False, 1), (True, 1), (True, 8)])
def test_the_step_that_counts_is_the_largest_there(planner: Planner, on_gpu: bool, width: int) -> None:
    """Many questions take more on one device, a question beside a drawing on another, which makes more logits at once."""

    def need(loads: frozenset[Load]) -> int:
        told = copy(planner)
        told.work = replace(planner.work, loads=loads)
        found = told.forecast(width, on_gpu)
        return found.device_bytes + found.host_bytes

    alone = [need(frozenset({load})) for load in planner.work.loads]
    assert need(planner.work.loads) == max(alone) > min(alone)


def test_what_cannot_fit_names_a_change_that_does(planner: Planner) -> None:
    alone = planner.forecast(1, True, replace(planner.engine, cache_bytes=0))
    room = Room(host=64 * GIB, device=int((alone.device_bytes - 4 * MIB) / 0.95))
    with pytest.raises(ConfigError, match="it fits with --set precision=bf16"):
        planner.fit(8, room)
    half = replace(planner.engine, precision="bf16", cache_bytes=0)
    assert not planner.forecast(1, True, half).lacks(room)


def test_offloading_moves_the_weights_to_the_host(planner: Planner) -> None:
    away = replace(planner.engine, engine="deepspeed", offload="cpu", processes=2)
    found = planner.forecast(1, True, away)
    assert found.host["offloaded weights"] == planner.demand.weight_bytes // 2
    assert found.device["weights"] == planner.demand.resident_bytes


def test_the_command_says_it_and_refuses_in_one_line(toyland: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "--data", str(toyland), "--config", "demo"]
    assert main([*command, "--pack", "2", "--lanes", "1", "--host-memory", "64"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "packs of 2" in said and "image prefixes up to 512 MiB" in said and "per concept" in said
    assert main([*command, "--device-memory", "0.3"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: backbone 'mini' does not fit: even one concept alone lacks")
    assert main([*command, "--pack", "0"]) == 2


def test_a_concept_that_cannot_be_read_does_not_stand_in_the_way(
    config: RunConfig, records: list[ConceptRecord], planner: Planner
) -> None:
    broken = replace(records[0], stages={})
    work = Planner(config, EngineSettings.of(config), [broken, *records[1:]]).work
    assert 0 < work.images < planner.work.images


def test_some_concepts_tell_of_all(
    config: RunConfig, planner: Planner, toyland: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(toyland, tmp_path / "data")
    catalog = Catalog.open(tmp_path / "data")
    monkeypatch.setattr(forecast, "LOOKED_AT", 2)
    some = forecast.some_readable(catalog, catalog.names)
    assert [record.name for record in some] == ["bo", "miru"]
    guessed = Planner(config, EngineSettings.of(config), some, len(catalog.names)).work
    assert guessed.images == pytest.approx(planner.work.images, rel=0.1)
    assert guessed.flops == pytest.approx(planner.work.flops, rel=0.1)
    for name in ("bo", "miru"):
        (tmp_path / f"data/concept/train/{name}/info.json").write_text("{")
    assert [record.name for record in forecast.some_readable(catalog, catalog.names)] == ["tavo"]


def test_a_full_disk_is_refused_before_weights_go_there(
    config: RunConfig, records: list[ConceptRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = replace(EngineSettings.of(config), engine="deepspeed", offload="nvme", folder=tmp_path)
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10 * MIB))
    with pytest.raises(StorageError, match="10 MiB free, the weights of 2 lanes take 57 MiB"):
        forecast.plan_lane(config, engine, records, 2, 2, Room(host=64 * GIB))


def test_the_forecast_is_within_15_percent_of_the_fact() -> None:
    command = [sys.executable, "-m", "benchmarks", "plan", "--widths", "2", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert row["host predicted MiB"] == pytest.approx(row["host measured MiB"], rel=0.15)
