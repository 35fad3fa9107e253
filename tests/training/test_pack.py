"""Runs that share a step do not touch each other: what a run learns alone, it learns in any company."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unictokens.backbones.base import Losses
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import RunConfig, override
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError, DataError, TrainingError, UniCTokensError
from unictokens.methods.base import Setting
from unictokens.methods.draws import SeededDraws
from unictokens.methods.unictokens import UniCTokens
from unictokens.tracking.base import Trackers
from unictokens.training.engine import LocalEngine
from unictokens.training.pack import Ended, train_pack
from unictokens.training.run import Run
from unictokens.training.session import Alone, Session
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


Make = Callable[..., Run]


@pytest.fixture
def make(small_catalog: Catalog, engine: LocalEngine, short_config: RunConfig, tmp_path: Path) -> Make:
    """A run of a concept in a folder of its own, with some settings replaced."""

    def run(name: str, concept: str, session: Session | None = None, **changed: object) -> Run:
        config = override(short_config, {"stages.bootstrap.initial_person": {}})
        config = override(config, {path.replace("__", "."): value for path, value in changed.items()})
        record = small_catalog.concept(concept)
        setting = Setting(engine.backbone, record, config, SeededDraws(config.seed), engine.codes)
        return Run(engine, setting, tmp_path / name, tracker=Trackers(()), session=session or Alone())

    return run


def train(engine: LocalEngine, runs: Sequence[Run], width: int) -> dict[Run, Exception | None]:
    waiting = list(runs)
    ended: list[Ended] = list(train_pack(engine, lambda: waiting.pop(0) if waiting else None, width))
    assert len(ended) == len(runs)
    return {end.run: end.error for end in ended}


def rows(run: Run) -> ConceptTokens:
    return run.state.rows.tokens().detach()


def apart(left: ConceptTokens, right: ConceptTokens) -> float:
    """Largest relative difference of embedding rows, head rows and biases."""
    pairs = zip(left.tensors(), right.tensors(), strict=True)
    return max(float((one - other).norm() / other.norm()) for one, other in pairs)


KINDS: tuple[tuple[str, dict[str, object]], ...] = (
    ("bo", {}),
    ("ann", {"seed": 1, "layout.shared": 5, "stages.warmup.optim.lr": 1e-2}),
    ("bo", {"seed": 2, "layout.understanding": 3, "stages.bootstrap.epochs": 1, "stages.deepen.epochs": 3}),
    ("ann", {"seed": 3, "stages.warmup.epochs": 1, "stages.bootstrap.optim.weight_decay": 0.1}),
)


@pytest.mark.parametrize("width", [2, 4])
def test_a_whole_training_does_not_depend_on_companions(make: Make, engine: LocalEngine, width: int) -> None:
    together = [make(f"together{at}", name, **changed) for at, (name, changed) in enumerate(KINDS)]
    alone = [make(f"alone{at}", name, **changed) for at, (name, changed) in enumerate(KINDS)]
    assert not any(train(engine, together, width).values())
    for run in alone:
        assert not any(train(engine, [run], 1).values())
    for mine, theirs in zip(together, alone, strict=True):
        assert mine.result().finished and apart(rows(mine), rows(theirs)) <= 1e-4


def test_a_place_is_filled_as_soon_as_it_is_free(make: Make, engine: LocalEngine) -> None:
    short = {f"stages.{stage}.epochs": 1 for stage in ("warmup", "bootstrap", "deepen")}
    long, *others = [make("long", "bo"), *(make(f"short{at}", "bo", seed=at, **short) for at in range(3))]
    waiting, begun = [long, *others], []

    def take() -> Run | None:
        if not waiting:
            return None
        begun.append(len(waiting))
        return waiting.pop(0)

    ends = []
    for ended in train_pack(engine, take, width=2):
        ends.append(ended.run)
        assert len(begun) - len(ends) <= 2
    # The long one takes as many steps as two short ones, which pass through the place beside it.
    assert ends == [others[0], long, others[1], others[2]]


def test_a_run_that_fails_leaves_the_pack_alone(make: Make, engine: LocalEngine, tmp_path: Path) -> None:
    good, wild = make("good", "bo"), make("wild", "ann", **{"stages.warmup.optim.lr": 1e30})
    alone = make("alone", "bo")
    errors = train(engine, [wild, good], width=2)
    assert errors[good] is None and good.result().finished
    assert isinstance(errors[wild], TrainingError) and "'ann'" in str(errors[wild]) and "lr" in str(errors[wild])
    train(engine, [alone], 1)
    assert apart(rows(good), rows(alone)) <= 1e-4


def test_a_run_whose_pictures_vanish_leaves_the_pack_alone(
    small_catalog: Catalog, engine: LocalEngine, short_config: RunConfig, make: Make, tmp_path: Path
) -> None:
    shutil.copytree(small_catalog.root, tmp_path / "copy")
    record = Catalog.open(tmp_path / "copy").concept("ann")
    setting = Setting(engine.backbone, record, short_config, SeededDraws(0), engine.codes)
    broken = Run(engine, setting, tmp_path / "broken", tracker=Trackers(()), session=Alone())
    for photo in (tmp_path / "copy").rglob("*.png"):
        photo.unlink()
    good = make("good", "bo")
    errors = train(engine, [broken, good], width=2)
    assert errors[good] is None and good.result().finished
    assert isinstance(errors[broken], UniCTokensError)


class Narrow(LocalEngine):
    """Has memory for a few runs at a time, or refuses a batch for a reason of its own."""

    def __init__(self, engine: LocalEngine, most: int, refused: int = -1) -> None:
        super().__init__(engine.backbone, engine.device)
        self.most = most
        self.refused = refused
        self.widths: list[int] = []

    def losses(self, batch: Any, bank: ConceptBank) -> Losses:
        self.widths.append(bank.concepts)
        if self.refused in bank.rows_C.tolist():
            raise DataError("this one cannot be read")
        return super().losses(batch, bank)

    def backward(self, loss: Tensor) -> None:
        super().backward(loss)
        if self.widths[-1] > self.most:
            raise torch.OutOfMemoryError("no memory left")


def test_full_memory_halves_the_pack_and_loses_nobody(make: Make, engine: LocalEngine) -> None:
    runs = [make(f"run{at}", name, **changed) for at, (name, changed) in enumerate(KINDS)]
    narrow, alone = Narrow(engine, most=1), make("alone", "bo")
    assert not any(train(narrow, runs, width=4).values())
    assert narrow.widths[:3] == [4, 2, 1] and set(narrow.widths[3:]) == {1}
    train(engine, [alone], 1)
    assert apart(rows(runs[0]), rows(alone)) == 0.0
    (error,) = train(Narrow(engine, most=0), [make("single", "bo")], width=1).values()
    assert isinstance(error, TrainingError) and "too large for device memory" in str(error)


def test_a_refused_batch_is_the_fault_of_one(make: Make, engine: LocalEngine) -> None:
    good, bad = make("good", "bo"), make("bad", "bo", **{"layout.shared": 20})
    narrow = Narrow(engine, most=2, refused=21)
    errors = train(narrow, [good, bad], width=2)
    assert errors[good] is None and good.result().finished
    assert isinstance(errors[bad], DataError)


def test_an_empty_pack_is_refused(engine: LocalEngine) -> None:
    with pytest.raises(ConfigError, match="pack width 0"):
        next(train_pack(engine, lambda: None, 0))
    assert list(train_pack(engine, lambda: None, 3)) == []
