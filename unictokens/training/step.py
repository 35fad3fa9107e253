"""One training step for any number of runs: one batch, one forward and one backward pass, an optimizer step each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unictokens.concepts.bank import ConceptBank
from unictokens.errors import TrainingError
from unictokens.training.engine import Engine
from unictokens.training.state import RunState, StepLosses


@dataclass(frozen=True)
class Outcome:
    """What a step was for one run: its losses, and the error that ends the run (then its rows did not change)."""

    losses: StepLosses
    error: TrainingError | None = None


@dataclass(frozen=True, eq=False)
class Look:
    """A step seen from inside, for checks: the backbone's batch, the rows it met, and per run what came of it.

    gradients  of the trained rows: embedding [n, D], head [n, D], bias [n]
    """

    batch: Any
    bank: ConceptBank
    losses: tuple[StepLosses, ...]
    gradients: tuple[tuple[Tensor, ...], ...]


def train_step(engine: Engine, runs: Sequence[RunState]) -> tuple[list[Outcome], Look]:
    """Train every run of `runs` on the next step of its own stage and data; runs may be at different stages.

    A run whose loss is not finite keeps its rows and gets an error; the others are not touched by it.
    """
    forward = _forward(engine, runs)
    sound = [run for run, outcome in zip(runs, forward.outcomes, strict=True) if outcome.error is None]
    # In a shared backward pass, zero times a broken run's infinities would reach everybody: the others go without it.
    trained = forward if len(sound) == len(runs) or not sound else _forward(engine, sound)
    if sound:
        engine.backward(torch.stack(trained.totals).sum())
    gradients = tuple(run.rows.gradients() for run in runs)
    for run in sound:
        run.rows.step()
    losses = tuple(outcome.losses for outcome in forward.outcomes)
    return forward.outcomes, Look(forward.batch, forward.bank, losses, gradients)


@dataclass(frozen=True, eq=False)
class _Forward:
    """A forward pass: weighted loss (scalar, with graph) and outcome per run."""

    batch: Any
    bank: ConceptBank
    totals: list[Tensor]
    outcomes: list[Outcome]


def _forward(engine: Engine, runs: Sequence[RunState]) -> _Forward:
    understanding, generation = [], []
    owners_U, owners_G = [], []
    for slot, run in enumerate(runs):
        questions, drawings = run.samples(slot)
        understanding += questions
        generation += drawings
        owners_U += [slot] * len(questions)
        owners_G += [slot] * len(drawings)
    batch = engine.backbone.collate(understanding, generation)
    bank = ConceptBank.stack([run.rows.tokens() for run in runs])
    losses = engine.losses(batch, bank)
    totals: list[Tensor] = []
    outcomes: list[Outcome] = []
    for slot, run in enumerate(runs):
        config = run.stage.config
        asked = _mean(losses.understanding_total_U, losses.understanding_count_U, owners_U, slot)
        drawn = _mean(losses.generation_total_G, losses.generation_count_G, owners_G, slot)
        parts = [
            weight * mean
            for weight, mean in ((config.generation_weight, drawn), (config.understanding_weight, asked))
            if mean is not None
        ]
        totals.append(torch.stack(parts).sum())
        outcomes.append(_outcome(run, StepLosses(_item(asked), _item(drawn), totals[-1].item())))
    return _Forward(batch, bank, totals, outcomes)


def _mean(total: Tensor, count: Tensor, owners: Sequence[int], slot: int) -> Tensor | None:
    """Mean cross-entropy over the samples of one run; None when it has none in this step."""
    mine = [at for at, owner in enumerate(owners) if owner == slot]
    if not mine:
        return None
    index = torch.tensor(mine, device=total.device)
    return total.index_select(0, index).sum() / count.index_select(0, index).sum()


def _item(value: Tensor | None) -> float | None:
    return None if value is None else value.item()


def _outcome(run: RunState, losses: StepLosses) -> Outcome:
    if all(math.isfinite(value) for value in losses.values().values()):
        return Outcome(losses)
    place, said = run.place, ", ".join(f"{name} {value}" for name, value in losses.values().items())
    return Outcome(
        losses,
        TrainingError(
            f"concept '{run.name}': loss is not finite in stage '{place.stage}', epoch {place.epoch}, step {place.step} "
            f"({said}): lower stages.{place.stage}.optim.lr or check the data of this step"
        ),
    )
