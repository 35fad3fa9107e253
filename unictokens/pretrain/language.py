"""Train the transformer of a small base: half of each step draws, half answers questions."""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

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
from unictokens.pretrain.batches import batches, changed
from unictokens.pretrain.codebook import settle_codes, share_codes
from unictokens.pretrain.individuals import Directions
from unictokens.pretrain.lessons import Batch, Lessons
from unictokens.pretrain.loop import Training
from unictokens.pretrain.recipe import LanguageRecipe
from unictokens.pretrain.state import steps_done

CHUNK = 256
"""Predicted places are counted in steps of this."""
FIRST_WORDS = 4.0
"""Weight of the first two ids of an answer."""
WITHOUT_END = 1_000_000_000
"""More steps than any clock allows."""
KERNELS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Fused attention that takes a mask of any kind and any length."""


def learning_rate(recipe: LanguageRecipe, step: int, elapsed: float | None = None) -> float:
    """Linear warm-up, then a cosine from `lr` to `final_lr`: over the steps, or over the `elapsed` share of a time limit."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps) if elapsed is None else elapsed
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
    fused = named[0][1].device.type == "cuda"
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), eps=1e-8, fused=fused)


class Pupil(nn.Module):
    """What is trained together: the transformer, and the heads and directions that only the training needs.

    Written-out attention beats the fused kernel's backward on a CPU at these lengths; `fused` is for GPUs.
    """

    def __init__(
        self,
        config: ShowOConfig,
        signs_CL: Tensor,
        vocabulary: Vocabulary,
        start: LanguageModel | None = None,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.language = LanguageModel(config.phi, config.vocab_size, attention="sdpa" if fused else "eager")
        if start is not None:
            self.language.load_state_dict(start.state_dict())
        share_codes(self.language, signs_CL, vocabulary, trained=start is not None)
        self.attributes = AttributeHead(self.language.width)
        self.matches = MatchHead(self.language.width)
        self.directions = Directions(self.language.width)


@dataclass(frozen=True, eq=False)
class Ready:
    """A batch on the device, with all that would make the processor wait for a GPU if it were found out there.

    frozen_BT   int64, ids with zeros for rows of individuals; learned, (sequence, place, row) of these, int64 [L] each
    mask        [B, 1, T, T], boolean or, for written-out attention, what it adds
    asked       what `asked_places` returns
    names       (sequence, place) of the residents' names, int64 [P] each; looks_PA int64, their class numbers
    """

    batch: Batch
    frozen_BT: Tensor
    learned: tuple[Tensor, Tensor, Tensor]
    mask: Tensor
    asked: tuple[Tensor, Tensor, Tensor]
    names: tuple[Tensor, Tensor]
    looks_PA: Tensor


class Losses:
    """Mean cross-entropies of both kinds of batch; the transformer itself is compiled, logits only where labels are."""

    def __init__(self, pupil: Pupil, lessons: Lessons, device: str, recipe: LanguageRecipe) -> None:
        self.model, self.device, self.lessons = pupil.language, torch.device(device), lessons
        self.attributes, self.matches, self.directions = pupil.attributes, pupil.matches, pupil.directions
        self.image = slice(1, lessons.prefix)
        self.layers = (recipe.attributes_layer, recipe.gathered_layer)
        self.names_VA = lessons.names()
        self.named_V = (self.names_VA >= 0).any(dim=1)
        self.bank = ConceptBank.empty(self.model.width)
        self.hidden = self.model.compiled_hidden_and_inner() if recipe.compiled else self.model.hidden_and_inner

    def ready(self, batch: Batch) -> Ready:
        """A batch on the CPU, made ready for its loss: in a drawing every place predicts itself, in a conversation the next."""
        learned_BT = batch.ids_BT >= self.model.vocabulary
        places = learned_BT.nonzero(as_tuple=True)
        frozen_BT = batch.ids_BT.masked_fill(learned_BT, 0)
        names = self.named_V[frozen_BT].nonzero(as_tuple=True)
        talks = batch.turns_BT is not None
        asked = asked_places(batch.labels_BT, int(talks), FIRST_WORDS if talks else 1.0)
        moved = changed(replace(batch, held=replace(batch.held, noise=batch.held.noise_BKD)), Tensor, self._moved)
        mask = self.lessons.mask(moved)
        if self.model.attention == "eager":
            mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.bfloat16).min)
        return Ready(
            moved,
            self._moved(frozen_BT),
            (
                self._moved(places[0]),
                self._moved(places[1]),
                self._moved(batch.ids_BT[places] - self.model.vocabulary),
            ),
            mask,
            (self._moved(asked[0]), self._moved(asked[1]), self._moved(asked[2])),
            (self._moved(names[0]), self._moved(names[1])),
            self._moved(self.names_VA[frozen_BT[names]]),
        )

    def drawings(self, ready: Ready) -> Tensor:
        """Mean cross-entropy of hidden codes and image ends, where every place predicts itself."""
        h_BTD, _ = self._hidden(ready)
        return self._entropy(h_BTD, ready)

    def examples(self, ready: Ready) -> Tensor:
        """Mean cross-entropy of what examples, and the question behind them, are answered with."""
        h_BTD, _ = self._hidden(ready)
        return self._entropy(h_BTD, ready)

    def conversations(self, ready: Ready) -> tuple[dict[str, Tensor], Tensor]:
        """Cross-entropies: `answers`, `attributes` of photos, of `names` that stand for residents, what is `gathered` to compare
        both, and `matches` between them.

        Also the share of right attributes of photos, float32 [A].
        """
        batch = ready.batch
        h_BTD, (middle_BTD, inner_BTD) = self._hidden(ready)
        answers = self._entropy(h_BTD, ready)
        assert batch.attributes_BA is not None and batch.meets_M2 is not None and batch.known_MA is not None
        attributes_BA, known_MA = batch.attributes_BA, batch.known_MA
        with torch.autocast(self.device.type, torch.bfloat16):
            logits_BL = self.attributes(middle_BTD[:, self.image])
            names = attribute_loss(self.attributes.of_words(middle_BTD[ready.names]), ready.looks_PA)
            rows_M, places_M = batch.meets_M2.unbind(1)
            shown_MA = attributes_BA[rows_M]
            known_ML, shown_ML = self.matches.gathered(inner_BTD[rows_M, places_M])
            gathered = attribute_loss(known_ML, known_MA) + attribute_loss(shown_ML, shown_MA)
            matches = match_loss(self.matches.matches(h_BTD[rows_M, places_M]), shared_looks(known_MA, shown_MA))
        with torch.no_grad():
            hits_A = attribute_hits(logits_BL, attributes_BA)
        attributes = attribute_loss(logits_BL, attributes_BA)
        told = {"answers": answers, "attributes": attributes, "names": names, "gathered": gathered, "matches": matches}
        return told, hits_A

    def _moved(self, tensor: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.contiguous().pin_memory().to(self.device, non_blocking=True)

    def _hidden(self, ready: Ready) -> tuple[Tensor, tuple[Tensor, ...]]:
        rows_L, places_L, held_L = ready.learned
        bank = self.directions(ready.batch.held, self.model.embed_VD)
        with torch.autocast(self.device.type, torch.bfloat16), sdpa_kernel(KERNELS):
            x_BTD = self.model.frozen_rows(ready.frozen_BT)
            x_BTD = x_BTD.index_put((rows_L, places_L), bank.embed_CKD[rows_L, held_L].to(x_BTD.dtype))
            return self.hidden(x_BTD, ready.mask, ready.batch.positions_BT, self.layers)

    def _entropy(self, h_BTD: Tensor, ready: Ready) -> Tensor:
        places_M, asked_M, weights_M = ready.asked
        none_MS = torch.zeros(len(places_M), 0, dtype=torch.long, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
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
    processes: int = 1,
    minutes: float | None = None,
) -> tuple[LanguageModel, int]:
    """Train, or go on from the file `state`; returns the model in float32 on the CPU, and the number of finished steps.

    Without this file, training begins from `start`'s weights, or from random ones.

    Matrix products run in bfloat16 under autocast, weights and optimizer stay float32. `until` stops early, after that
    many steps in all; what follows later is what would have followed at once. With `minutes` training ends by the clock
    instead, and so does the cosine of the learning rate: for a machine that is lent for a time. Such a training cannot be
    repeated exactly. `processes` build the batches.
    """
    fused = torch.device(device).type == "cuda"
    torch.manual_seed(recipe.seed)
    signs_CL = Quantizer(config.magvit.bits).embedding
    pupil = Pupil(config, signs_CL, lessons.sequences.vocabulary, start, fused)
    losses = Losses(pupil, lessons, device, recipe)
    wanted = recipe.steps if minutes is None else WITHOUT_END
    last = wanted if until is None else min(until, wanted)
    ready = batches(lessons, steps_done(state), last, processes, losses.ready)
    pupil.to(device).train()
    optimizer = optimizer_of(pupil, recipe)
    training = Training("language", pupil, optimizer, state)
    started = time.monotonic()
    weights = {
        "answers": recipe.understanding_weight,
        "attributes": recipe.attributes_weight,
        "names": recipe.names_weight,
        "gathered": recipe.gathered_weight,
        "matches": recipe.matches_weight,
    }

    def learn(_: int) -> tuple[dict[str, Tensor], Tensor]:
        drawings, conversations, *examples = next(ready)
        drawing = losses.drawings(drawings)
        (recipe.generation_weight * drawing).backward()
        parts, hits_A = losses.conversations(conversations)
        torch.stack([weight * parts[name] for name, weight in weights.items()]).sum().backward()
        told = {"drawing": drawing, **parts}
        for batch in examples:  # one, or none
            told["examples"] = losses.examples(batch)
            (recipe.examples_weight * told["examples"]).backward()
        return {name: loss.detach() for name, loss in told.items()}, hits_A

    def elapsed() -> float | None:
        return None if minutes is None else (time.monotonic() - started) / (60.0 * minutes)

    def over() -> bool:
        return (elapsed() or 0.0) >= 1.0

    training.run(last, lambda step: learning_rate(recipe, step, elapsed()), learn, report=50, save=250, over=over)
    pupil.eval().cpu().requires_grad_(False)
    settle_codes(pupil.language)
    return pupil.language.requires_grad_(False), training.done
