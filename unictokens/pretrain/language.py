"""Train the transformer of a small base: half of each step draws, half answers questions."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unictokens.backbones.showo.config import ShowOConfig
from unictokens.backbones.showo.image_tokenizer import Quantizer
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.concepts.bank import ConceptBank
from unictokens.pretrain.attributes import (
    AttributeHead,
    MatchHead,
    attribute_hits,
    attribute_loss,
    match_loss,
    shared_looks,
)
from unictokens.pretrain.codebook import settle_codes, share_codes
from unictokens.pretrain.individuals import Directions
from unictokens.pretrain.lessons import Batch, Lessons
from unictokens.pretrain.loop import Training
from unictokens.pretrain.recipe import LanguageRecipe

CHUNK = 256
"""Predicted places are counted in steps of this."""
FIRST_WORDS = 4.0
"""Weight of the first two ids of an answer."""


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


def optimizer_of(model: nn.Module, recipe: LanguageRecipe) -> torch.optim.AdamW:
    """AdamW over the whole transformer and the attribute head; norms, biases and the two vocabulary tables are not decayed."""
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


class Pupil(nn.Module):
    """What is trained together: the transformer, and the heads and directions that only the training needs."""

    def __init__(
        self, config: ShowOConfig, signs_CL: Tensor, vocabulary: Vocabulary, start: LanguageModel | None = None
    ) -> None:
        super().__init__()
        self.language = LanguageModel(config.phi, config.vocab_size, attention="eager")
        if start is not None:
            self.language.load_state_dict(start.state_dict())
        share_codes(self.language, signs_CL, vocabulary, trained=start is not None)
        self.attributes = AttributeHead(self.language.width)
        self.matches = MatchHead(self.language.width)
        self.directions = Directions(self.language.width)


class Losses:
    """Mean cross-entropies of both kinds of batch; the transformer itself is compiled, logits only where labels are."""

    def __init__(self, pupil: Pupil, lessons: Lessons, device: str, recipe: LanguageRecipe) -> None:
        self.model, self.device = pupil.language, device
        self.attributes, self.matches, self.directions = pupil.attributes, pupil.matches, pupil.directions
        self.image = slice(1, lessons.prefix)
        self.layers = (recipe.attributes_layer, recipe.gathered_layer)
        self.names_VA = lessons.names().to(device)
        self.bank = ConceptBank.empty(self.model.width).to(device)
        self.hidden = self.model.compiled_hidden_and_inner() if recipe.compiled else self.model.hidden_and_inner

    def drawings(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of hidden codes and image ends, where every place predicts itself."""
        h_BTD, _ = self._hidden(batch)
        return self._entropy(h_BTD, batch.labels_BT.to(self.device), shift=0, first=1.0)

    def conversations(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Cross-entropies: `answers`, `attributes` of photos, of `names` that stand for residents, what is `gathered` to compare
        both, and `matches` between them.

        Also the share of right attributes of photos, float32 [A].
        """
        h_BTD, (middle_BTD, inner_BTD) = self._hidden(batch)
        answers = self._entropy(h_BTD, batch.labels_BT.to(self.device), shift=1, first=FIRST_WORDS)
        assert batch.attributes_BA is not None and batch.meets_M2 is not None and batch.known_MA is not None
        attributes_BA = batch.attributes_BA.to(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            logits_BL = self.attributes(middle_BTD[:, self.image])
            ids_BT = batch.ids_BT.to(self.device)
            named_BTA = self.names_VA[ids_BT.masked_fill(ids_BT >= len(self.names_VA), 0)]
            places = (named_BTA >= 0).any(dim=2).nonzero(as_tuple=True)
            names = attribute_loss(self.attributes.of_words(middle_BTD[places]), named_BTA[places])
            rows_M, places_M = batch.meets_M2.to(self.device).unbind(1)
            known_MA, shown_MA = batch.known_MA.to(self.device), attributes_BA[rows_M]
            known_ML, shown_ML = self.matches.gathered(inner_BTD[rows_M, places_M])
            gathered = attribute_loss(known_ML, known_MA) + attribute_loss(shown_ML, shown_MA)
            matches = match_loss(self.matches.matches(h_BTD[rows_M, places_M]), shared_looks(known_MA, shown_MA))
        with torch.no_grad():
            hits_A = attribute_hits(logits_BL, attributes_BA)
        attributes = attribute_loss(logits_BL, attributes_BA)
        told = {"answers": answers, "attributes": attributes, "names": names, "gathered": gathered, "matches": matches}
        return told, hits_A

    def _hidden(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        ids_BT = batch.ids_BT.to(self.device)
        own_B1 = torch.arange(len(ids_BT), device=self.device)[:, None]
        bank = self.directions(batch.held, self.model.embed_VD)
        with torch.autocast(self.device, torch.bfloat16):
            # Written-out attention beats the fused kernel's backward on a CPU at these lengths; it adds its mask.
            mask = torch.zeros(batch.mask.shape).masked_fill(~batch.mask, torch.finfo(torch.bfloat16).min)
            positions = None if batch.positions_BT is None else batch.positions_BT.to(self.device)
            return self.hidden(self.model.embed(ids_BT, bank, own_B1), mask.to(self.device), positions, self.layers)

    def _entropy(self, h_BTD: Tensor, labels_BT: Tensor, shift: int, first: float) -> Tensor:
        places_M, asked_M, weights_M = asked_places(labels_BT, shift, first)
        none_MS = torch.zeros(len(places_M), 0, dtype=torch.long, device=self.device)
        with torch.autocast(self.device, torch.bfloat16):
            logits_MV = self.model.logits(h_BTD.flatten(0, 1)[places_M], self.bank, none_MS)
        entropies_M = functional.cross_entropy(logits_MV.float(), asked_M, ignore_index=IGNORE, reduction="none")
        return (entropies_M * weights_M).sum() / weights_M.sum()


def asked_places(labels_BT: Tensor, shift: int, first: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Places (flat, int64 [M]) that predict a label, these labels [M], and their weights float32 [M].

    `shift` is 1 where a place predicts the next one (text), 0 where it predicts itself (codes). The first two labels of
    every stretch weigh `first`: an answer begins with the word that matters, what follows is mostly grammar. M is filled up with ignored places to a multiple of `CHUNK`: matrix kernels are made per shape, and every new shape
    would cost time and memory.
    """
    T = labels_BT.shape[1]
    rows_M, columns_M = (labels_BT != IGNORE).nonzero(as_tuple=True)
    asked_M = labels_BT[rows_M, columns_M]
    places_M = rows_M * T + columns_M - shift
    before_BT = functional.pad(labels_BT == IGNORE, (2, 0), value=True)
    opening_BT = before_BT[:, 1:-1] | before_BT[:, :-2]
    weights_M = 1.0 + (first - 1.0) * opening_BT[rows_M, columns_M].float()
    missing = -len(asked_M) % CHUNK
    return (
        functional.pad(places_M, (0, missing)),
        functional.pad(asked_M, (0, missing), value=IGNORE),
        functional.pad(weights_M, (0, missing)),
    )


def train_language_model(
    config: ShowOConfig,
    lessons: Lessons,
    recipe: LanguageRecipe,
    state: Path,
    device: str,
    until: int | None = None,
    start: LanguageModel | None = None,
) -> LanguageModel:
    """Train, or go on from the file `state`; returns the model in float32 on the CPU.

    Without this file, training begins from `start`'s weights, or from random ones.

    Matrix products run in bfloat16 under autocast, weights and optimizer stay float32. `until` stops early, after that
    many steps in all; what follows later is what would have followed at once.
    """
    torch.manual_seed(recipe.seed)
    signs_CL = Quantizer(config.magvit.bits).embedding
    pupil = Pupil(config, signs_CL, lessons.sequences.vocabulary, start).to(device).train()
    optimizer = optimizer_of(pupil, recipe)
    training = Training("language", pupil, optimizer, state)
    last = recipe.steps if until is None else min(until, recipe.steps)
    losses = Losses(pupil, lessons, device, recipe)
    ready = batches(lessons, training.done, last)
    weights = {
        "answers": recipe.understanding_weight,
        "attributes": recipe.attributes_weight,
        "names": recipe.names_weight,
        "gathered": recipe.gathered_weight,
        "matches": recipe.matches_weight,
    }

    def learn(_: int) -> tuple[dict[str, float], np.ndarray]:
        drawings, conversations = next(ready)
        drawing = losses.drawings(drawings)
        (recipe.generation_weight * drawing).backward()
        parts, hits_A = losses.conversations(conversations)
        torch.stack([weight * parts[name] for name, weight in weights.items()]).sum().backward()
        return {name: loss.item() for name, loss in {"drawing": drawing, **parts}.items()}, hits_A.cpu().numpy()

    training.run(last, lambda step: learning_rate(recipe, step), learn, report=50, save=250)
    pupil.eval().cpu().requires_grad_(False)
    settle_codes(pupil.language)
    return pupil.language.requires_grad_(False)
