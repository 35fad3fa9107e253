"""Train the transformer of a small base: half of each batch draws, half answers questions."""

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unictokens.backbones.base import Losses
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.bank import ConceptBank
from unictokens.pretrain.lessons import Lessons
from unictokens.pretrain.recipe import LanguageRecipe
from unictokens.pretrain.state import load_state, save_state

logger = logging.getLogger(__name__)


def learning_rate(recipe: LanguageRecipe, step: int) -> float:
    """Linear warm-up, then a cosine from `lr` to `final_lr`."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.final_lr + (recipe.lr - recipe.final_lr) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def batches(backbone: ShowO, lessons: Lessons, recipe: LanguageRecipe, first: int) -> Iterator[object]:
    """Collated batches from step `first` on; step s depends on (seed, s) alone. One batch is prepared ahead."""

    def build(step: int) -> object:
        rng = np.random.default_rng((recipe.seed, step))
        understanding = [lessons.conversation(rng) for _ in range(recipe.batch_understanding)]
        generation = [lessons.drawing(rng, recipe.condition_dropout) for _ in range(recipe.batch_generation)]
        return backbone.collate(understanding, generation)

    with ThreadPoolExecutor(1) as executor:
        ahead = executor.submit(build, first)
        for step in range(first, recipe.steps):
            batch = ahead.result()
            ahead = executor.submit(build, step + 1)
            yield batch


def optimizer_of(backbone: ShowO, recipe: LanguageRecipe) -> torch.optim.AdamW:
    """AdamW over the whole transformer; vectors (norms, biases) and embeddings are not decayed."""
    named = list(backbone.language_model.named_parameters())
    decayed = [p for name, p in named if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
    rest = [p for name, p in named if p.ndim != 2 or "embed" in name or "lm_head" in name]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), eps=1e-8)


def combine(losses: Losses, recipe: LanguageRecipe) -> tuple[Tensor, float, float]:
    """Weighted sum of the two mean losses, and both means as numbers."""
    understanding = losses.understanding_total_U.sum() / losses.understanding_count_U.sum()
    generation = losses.generation_total_G.sum() / losses.generation_count_G.sum()
    total = recipe.understanding_weight * understanding + recipe.generation_weight * generation
    return total, float(understanding.detach()), float(generation.detach())


def train_language_model(backbone: ShowO, lessons: Lessons, recipe: LanguageRecipe, folder: Path) -> None:
    """Train in place, or go on from `folder/language.state.safetensors`.

    Matrix products run in bfloat16 under autocast, weights and optimizer stay float32.
    """
    model = backbone.language_model.train().requires_grad_(True)
    optimizer = optimizer_of(backbone, recipe)
    state = folder / "language.state.safetensors"
    done = load_state(state, model, optimizer)
    bank = ConceptBank.empty(backbone.info.width)
    started = time.monotonic()
    seen: list[tuple[float, float]] = []
    for step, batch in enumerate(batches(backbone, lessons, recipe, done), start=done):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        with torch.autocast("cpu" if not torch.cuda.is_available() else "cuda", torch.bfloat16):
            losses = backbone.losses(batch, bank)
        loss, understanding, generation = combine(losses, recipe)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append((understanding, generation))
        if (step + 1) % 50 == 0:
            means = np.mean(seen[-50:], axis=0)
            rate = (step + 1 - done) / (time.monotonic() - started)
            logger.info("language step %d: understanding %.4f, drawing %.4f, %.2f steps/s", step + 1, *means, rate)
        if (step + 1) % 250 == 0 or step + 1 == recipe.steps:
            save_state(state, model, optimizer, step + 1)
    model.eval().requires_grad_(False)
