"""Runs that share a step do not touch each other."""

import pytest
import torch

from unictokens.config import RunConfig, override
from unictokens.data.catalog import Catalog
from unictokens.errors import TrainingError
from unictokens.methods.base import Setting
from unictokens.methods.draws import SeededDraws
from unictokens.methods.unictokens import UniCTokens
from unictokens.training.engine import LocalEngine
from unictokens.training.state import RunState
from unictokens.training.step import train_step


def state(catalog: Catalog, engine: LocalEngine, config: RunConfig, name: str, seed: int) -> RunState:
    setting = Setting(engine.backbone, catalog.concept(name), config, SeededDraws(seed), engine.codes)
    found = RunState(setting, UniCTokens(), engine.device)
    found.enter(0, None)
    return found


def test_pack_gives_each_run_what_it_gets_alone(
    small_catalog: Catalog, engine: LocalEngine, short_config: RunConfig
) -> None:
    wide = override(short_config, {"layout.shared": 5, "stages.warmup.optim.lr": 1e-2})
    kinds = [(short_config, "bo", 0), (wide, "ann", 1)]
    together = [state(small_catalog, engine, *kind) for kind in kinds]
    alone = [state(small_catalog, engine, *kind) for kind in kinds]
    for _ in range(2):
        outcomes, _ = train_step(engine, together)
        single = [train_step(engine, [run])[0][0] for run in alone]
        for mine, theirs in zip(outcomes, single, strict=True):
            assert mine.losses.total == pytest.approx(theirs.losses.total, rel=1e-5)
        for run in (*together, *alone):
            run.advance()
    for mine, theirs in zip(together, alone, strict=True):
        for left, right in zip(mine.rows.tokens().tensors(), theirs.rows.tokens().tensors(), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


def test_run_with_a_broken_loss_leaves_the_others_alone(
    small_catalog: Catalog, engine: LocalEngine, short_config: RunConfig
) -> None:
    good, bad = (state(small_catalog, engine, short_config, name, 0) for name in ("bo", "ann"))
    alone = state(small_catalog, engine, short_config, "bo", 0)
    broken = bad.rows.tokens().detach()
    bad._open(type(broken)(broken.layout, broken.embed_KD * float("inf"), broken.head_KD, broken.bias_K))
    outcomes, _ = train_step(engine, [bad, good])
    train_step(engine, [alone])
    assert isinstance(outcomes[0].error, TrainingError) and outcomes[1].error is None
    for left, right in zip(good.rows.tokens().tensors(), alone.rows.tokens().tensors(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)
