"""Train the transformer of a small base: half of each step draws, half answers questions."""

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.showo.config import ShowOConfig
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.concepts.bank import ConceptBank
from unictokens.pretrain.lessons import Batch, Lessons
from unictokens.pretrain.recipe import LanguageRecipe
from unictokens.pretrain.state import load_state, save_state

logger = logging.getLogger(__name__)

CHUNK = 256
"""Predicted places are counted in steps of this."""


def learning_rate(recipe: LanguageRecipe, step: int) -> float:
    """Linear warm-up, then a cosine from `lr` to `final_lr`."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.final_lr + (recipe.lr - recipe.final_lr) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def language_config(recipe: LanguageRecipe) -> dict[str, object]:
    """Values of transformers' PhiConfig for the small base."""
    return {
        "hidden_size": recipe.width,
        "intermediate_size": recipe.intermediate,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.heads,
        "max_position_embeddings": 1024,
        "partial_rotary_factor": 0.5,
        "rope_theta": 10000.0,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu_new",
        "initializer_range": 0.02,
    }


def batches(lessons: Lessons, first: int, last: int) -> Iterator[tuple[Batch, Batch]]:
    """(drawings, conversations) of steps first..last-1, prepared one step ahead."""
    with ThreadPoolExecutor(1) as executor:

        def build(step: int) -> tuple[Batch, Batch]:
            return lessons.drawings(step), lessons.conversations(step)

        ahead = executor.submit(build, first)
        for step in range(first, last):
            ready = ahead.result()
            ahead = executor.submit(build, step + 1)
            yield ready


def optimizer_of(model: LanguageModel, recipe: LanguageRecipe) -> torch.optim.AdamW:
    """AdamW over the whole transformer; norms, biases and the two vocabulary tables are not decayed."""
    named = list(model.named_parameters())
    decays = [p.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name for name, p in named]
    groups = [
        {
            "params": [p for (_, p), decay in zip(named, decays, strict=True) if decay],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for (_, p), decay in zip(named, decays, strict=True) if not decay], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), eps=1e-8)


class Losses:
    """Mean cross-entropies of both kinds of batch; the transformer itself is compiled, logits only where labels are."""

    def __init__(self, model: LanguageModel, device: str, compiled: bool) -> None:
        self.model, self.device = model, device
        self.bank = ConceptBank.empty(model.width).to(device)
        self.hidden = model.compiled_hidden() if compiled else model.hidden

    def __call__(self, batch: Batch, shift: int) -> Tensor:
        """Loss of one batch; `shift` is 1 where a place predicts the next one (text), 0 where it predicts itself (codes)."""
        ids_BT, labels_BT = batch.ids_BT.to(self.device), batch.labels_BT.to(self.device)
        none_BS = torch.zeros(len(ids_BT), 0, dtype=torch.long, device=self.device)
        with torch.autocast(self.device, torch.bfloat16):
            # Written-out attention beats the fused kernel's backward on a CPU at these lengths; it adds its mask.
            mask = torch.zeros(batch.mask.shape).masked_fill(~batch.mask, torch.finfo(torch.bfloat16).min)
            h_BTD = self.hidden(self.model.embed(ids_BT, self.bank, none_BS), mask.to(self.device))
            places_M, asked_M = asked_places(labels_BT, shift)
            h_MD = h_BTD.flatten(0, 1)[places_M]
            logits_MV = self.model.logits(h_MD, self.bank, none_BS[:1].expand(len(h_MD), 0))
        return functional.cross_entropy(logits_MV.float(), asked_M, ignore_index=IGNORE)


def asked_places(labels_BT: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Places (flat, int64 [M]) that predict a label, and these labels [M].

    M is filled up with ignored places to a multiple of `CHUNK`: matrix kernels are made per shape, and every new shape
    would cost time and memory.
    """
    T = labels_BT.shape[1]
    rows_M, columns_M = (labels_BT != IGNORE).nonzero(as_tuple=True)
    asked_M = labels_BT[rows_M, columns_M]
    places_M = rows_M * T + columns_M - shift
    missing = -len(asked_M) % CHUNK
    return functional.pad(places_M, (0, missing)), functional.pad(asked_M, (0, missing), value=IGNORE)


def train_language_model(
    config: ShowOConfig,
    lessons: Lessons,
    recipe: LanguageRecipe,
    folder: Path,
    device: str,
    until: int | None = None,
) -> LanguageModel:
    """Train, or go on from `folder/language.state.safetensors`; returns the model in float32 on the CPU.

    Matrix products run in bfloat16 under autocast, weights and optimizer stay float32. `until` stops early, after that
    many steps in all; what follows later is what would have followed at once.
    """
    torch.manual_seed(recipe.seed)
    model = LanguageModel(config.phi, config.vocab_size, attention="eager").to(device).train()
    optimizer = optimizer_of(model, recipe)
    state = folder / "language.state.safetensors"
    done = load_state(state, model, optimizer)
    last = recipe.steps if until is None else min(until, recipe.steps)
    losses = Losses(model, device, recipe.compiled)
    started, seen = time.monotonic(), []
    for step, (drawings, conversations) in enumerate(batches(lessons, done, last), start=done):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        drawing, understanding = losses(drawings, shift=0), losses(conversations, shift=1)
        optimizer.zero_grad(set_to_none=True)
        (recipe.generation_weight * drawing + recipe.understanding_weight * understanding).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append((drawing.item(), understanding.item()))
        if (step + 1) % 50 == 0:
            means = np.mean(seen[-50:], axis=0)
            rate = (step + 1 - done) / (time.monotonic() - started)
            logger.info("language step %d: drawing %.4f, understanding %.4f, %.2f steps/s", step + 1, *means, rate)
        if (step + 1) % 250 == 0 or step + 1 == last:
            save_state(state, model, optimizer, step + 1)
    return model.eval().cpu().requires_grad_(False)
