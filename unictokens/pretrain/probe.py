"""Does fine identity survive the image tokenizer? A small probe tells a concept from its hard negatives by codes alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.data.toyland import Photo, Subject, hard_negative, random_photo, render
from unictokens.pretrain.attributes import CodeHead
from unictokens.pretrain.measure import Score
from unictokens.pretrain.pool import to_network
from unictokens.pretrain.recipe import ProbeRecipe


def probe_scores(
    magvit: Magvit, subjects: Sequence[Subject], image_size: int, recipe: ProbeRecipe, seed: int
) -> dict[str, Score]:
    """Per subject, how many held-out renders the probe tells right (half of them hard negatives; chance is one half)."""
    return {
        subject.name: _probe(magvit, subject, image_size, recipe, np.random.default_rng((seed, at)))
        for at, subject in enumerate(subjects)
    }


def _probe(magvit: Magvit, subject: Subject, image_size: int, recipe: ProbeRecipe, rng: np.random.Generator) -> Score:
    count = recipe.renders + recipe.held_out
    photos = [random_photo(rng, subject) for _ in range(count)]
    photos += [random_photo(rng, hard_negative(subject, rng)) for _ in range(count)]
    signs_PCHW = _signs(magvit, photos, image_size)
    truth_P = torch.arange(2 * count) < count
    learns_P = torch.arange(2 * count) % count < recipe.renders
    torch.manual_seed(int(rng.integers(2**31)))
    net = CodeHead(signs_PCHW.shape[1], outputs=1, width=recipe.width, dropout=recipe.dropout)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps, pct_start=0.1)
    seen_PCHW, told_P = signs_PCHW[learns_P], truth_P[learns_P].float()
    for _ in range(recipe.steps):
        chosen = torch.from_numpy(rng.integers(len(seen_PCHW), size=recipe.batch))
        loss = functional.binary_cross_entropy_with_logits(net(seen_PCHW[chosen])[:, 0], told_P[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        said_P = net(signs_PCHW[~learns_P])[:, 0] > 0
    return Score(int((said_P == truth_P[~learns_P]).sum()), 2 * recipe.held_out)


def _signs(magvit: Magvit, photos: Sequence[Photo], image_size: int) -> Tensor:
    """Code bits of photos as signs, float32 [P, bits, h, w]."""
    side = image_size // magvit.config.factor
    parts = []
    for at in range(0, len(photos), 100):
        pixels = np.stack([np.asarray(render(photo, image_size)) for photo in photos[at : at + 100]])
        parts.append(magvit.quantize.signs(magvit.codes(to_network(pixels)), side, side))
    return torch.cat(parts)
