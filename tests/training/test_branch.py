"""Runs that begin where another one ended a stage end with the same bytes as trained alone; bundles of earlier stages."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unictokens.config import RunConfig, config_hash, override
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError, StorageError
from unictokens.training.branch import Branch, common_stages, follow_branch
from unictokens.training.bundles import bundle_after
from unictokens.training.checkpoint import Identity
from unictokens.training.engine import LocalEngine
from unictokens.training.run import BUNDLE_FILE, RunResult

Train = Callable[..., RunResult]
RANDOM = {"stages__deepen__initial": {"understanding": "random"}}


def identity(catalog: Catalog, engine: LocalEngine, config: RunConfig) -> Identity:
    record = catalog.concept("bo")
    return Identity("bo", config_hash(config), record.digest(), engine.backbone.info.fingerprint)


def child_of(config: RunConfig) -> RunConfig:
    return override(config, {"stages.deepen.initial": {"understanding": "random"}})


@pytest.mark.parametrize("start_epoch", [None, 1])
def test_a_branched_run_ends_like_one_trained_from_the_start(
    train: Train,
    small_catalog: Catalog,
    engine: LocalEngine,
    short_config: RunConfig,
    tmp_path: Path,
    start_epoch: int | None,
) -> None:
    settings: dict[str, Any] = {"stages__bootstrap__start_epoch": start_epoch}
    parent = override(short_config, {"stages.bootstrap.start_epoch": start_epoch})
    child = child_of(parent)
    train(tmp_path / "parent", **settings)
    alone = train(tmp_path / "alone", **settings, **RANDOM)
    branch = Branch("parent", config_hash(parent), common_stages(parent, child))
    assert branch.stages == 2
    mine = identity(small_catalog, engine, child)
    assert follow_branch(branch, tmp_path / "parent", tmp_path / "child", child, mine)
    assert not follow_branch(branch, tmp_path / "parent", tmp_path / "child", child, mine), "it has begun"
    branched = train(tmp_path / "child", **settings, **RANDOM)
    assert alone.bundle is not None and branched.bundle is not None
    assert (tmp_path / "child" / BUNDLE_FILE).read_bytes() == (tmp_path / "alone" / BUNDLE_FILE).read_bytes()
    for file in ("1-bootstrap-0002.safetensors", "2-deepen-0002.safetensors"):
        first, second = (load_file(tmp_path / name / "checkpoints" / file) for name in ("child", "alone"))
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    lines = [(tmp_path / name / "history.jsonl").read_text().count("\n") for name in ("child", "alone")]
    assert lines[0] == lines[1] == 6


def test_stages_are_common_only_where_nothing_that_decides_differs(short_config: RunConfig) -> None:
    def common(**values: Any) -> int:
        return common_stages(short_config, override(short_config, {k.replace("__", "."): v for k, v in values.items()}))

    assert common(preview__every=3) == 3
    assert common(stages__deepen__optim__lr=0.5) == 2
    assert common(stages__bootstrap__epochs=1) == 1
    assert common(stages__warmup__understanding_limit=2) == 0
    assert common(seed=4) == common(layout__understanding=1) == common(method="textual_inversion") == 0


def test_without_the_parent_s_state_a_run_begins_by_itself(
    train: Train, small_catalog: Catalog, engine: LocalEngine, short_config: RunConfig, tmp_path: Path
) -> None:
    child = child_of(short_config)
    branch = Branch("parent", config_hash(short_config), 2)
    mine = identity(small_catalog, engine, child)
    assert not follow_branch(branch, tmp_path / "nowhere", tmp_path / "child", child, mine)
    train(tmp_path / "parent")
    (tmp_path / "parent/checkpoints/1-bootstrap-0002.safetensors").write_bytes(b"half")
    with pytest.raises(StorageError, match="bootstrap-0002"):
        follow_branch(branch, tmp_path / "parent", tmp_path / "child", child, mine)
    assert not (tmp_path / "child").exists()


def test_rows_of_an_earlier_stage_come_in_that_stage_s_prompts(
    train: Train, small_catalog: Catalog, engine: LocalEngine, short_config: RunConfig, tmp_path: Path
) -> None:
    result = train(tmp_path)
    record, info = small_catalog.concept("bo"), engine.backbone.info
    found = {name: bundle_after(tmp_path, record, short_config, info, name) for name in ("warmup", "bootstrap", "")}
    assert [bundle.tokens.rows for bundle in found.values()] == [4, 6, 8]
    assert found["warmup"].card.templates.introduction == "{identifier} is {shared}."
    assert found["warmup"].card.templates.subject == "{shared} {identifier}"
    assert found["bootstrap"].card.templates.subject == "{shared}{generation} {identifier}"
    assert result.bundle is not None
    assert found[""].card.templates == result.bundle.card.templates
    assert torch.equal(found[""].tokens.embed_KD, result.bundle.tokens.embed_KD)
    with pytest.raises(ConfigError, match="no stage 'magic'"):
        bundle_after(tmp_path, record, short_config, info, "magic")
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(StorageError):
        bundle_after(tmp_path, record, short_config, info, "warmup")
