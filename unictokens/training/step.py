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
from unictokens.training.losses import StepLosses
from unictokens.training.state import RunState


@dataclass(frozen=True)
class Outcome:
    """What a step was for one run: its losses, and the error that ends the run (then its rows did not change).

    losses  UNKNOWN when the step could not be made at all, which the error explains
    """

    losses: StepLosses
    error: Exception | None = None


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
        engine.backward(trained.totals_R.sum())
    gradients = tuple(run.rows.gradients() for run in runs)
    for run in sound:
        run.rows.step()
    losses = tuple(outcome.losses for outcome in forward.outcomes)
    return forward.outcomes, Look(forward.batch, forward.bank, losses, gradients)


@dataclass(frozen=True, eq=False)
class _Forward:
    """A forward pass: weighted losses with their graph, and the outcome per run."""

    batch: Any
    bank: ConceptBank
    totals_R: Tensor
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
    asked_R = _means(losses.understanding_total_U, losses.understanding_count_U, owners_U, len(runs))
    drawn_R = _means(losses.generation_total_G, losses.generation_count_G, owners_G, len(runs))
    configs = [run.stage.config for run in runs]
    weights_2R = torch.tensor(
        [[config.generation_weight for config in configs], [config.understanding_weight for config in configs]],
        device=asked_R.device,
    )
    # A run without samples of a kind has no mean of it, whatever its weight.
    parts_2R = torch.stack([drawn_R, asked_R])
    there_2R = torch.tensor([[slot in owners for slot in range(len(runs))] for owners in (owners_G, owners_U)])
    totals_R = (weights_2R * parts_2R).where(there_2R.to(asked_R.device), 0.0).sum(0)
    # One transfer for all numbers: every other would wait for the device.
    numbers = torch.stack([asked_R, drawn_R, totals_R]).detach().T.tolist()
    outcomes = []
    for slot, (run, (asked, drawn, total)) in enumerate(zip(runs, numbers, strict=True)):
        has_drawn, has_asked = (bool(there) for there in there_2R[:, slot])
        values = StepLosses(asked if has_asked else None, drawn if has_drawn else None, total)
        outcomes.append(_outcome(run, values))
    return _Forward(batch, bank, totals_R, outcomes)


def _means(totals: Tensor, counts: Tensor, owners: Sequence[int], runs: int) -> Tensor:
    """Mean cross-entropy per run float32 [R] over its samples, which stand together; NaN for a run that has none."""
    if not owners:
        return torch.full((runs,), float("nan"), device=totals.device)
    lengths_R = torch.tensor([owners.count(slot) for slot in range(runs)], device=totals.device)
    sums_R, places_R = (torch.segment_reduce(part, "sum", lengths=lengths_R, initial=0.0) for part in (totals, counts))
    return sums_R / places_R


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
