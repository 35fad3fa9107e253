"""Train the net that reads Toyland pictures for the judge: `python -m unictokens.pretrain FOLDER --reader`."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from unictokens.atomic import write_bytes
from unictokens.backbones.showo.backbone import ShowO
from unictokens.evaluation.toyland_reader import SIDE, ReaderNet
from unictokens.pretrain.album import GROUP, make_album
from unictokens.pretrain.attributes import ATTRIBUTES, attribute_hits, attribute_loss
from unictokens.pretrain.pool import to_network

logger = logging.getLogger(__name__)

AT_ONCE = 100
CLEAR = ("accessory", "accessory colour", "place")
"""Attributes that the judge of drawings decides by; the others are learned because they help."""


@dataclass(frozen=True, kw_only=True)
class ReaderRecipe:
    """groups are of `album`: two photos each of a stranger and of a lookalike, as drawn and as rebuilt from codes, which is what
    models draw like.

    held_out_from  first group of those that accuracy is measured on
    weight         of attributes that the judge decides by; of the others it is 1
    """

    groups: int = 6_000
    held_out: int = 500
    steps: int = 5_000
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.02
    dropout: float = 0.3
    weight: float = 3.0
    seed: int = 0
    held_out_from: int = 950_000


def train_reader(backbone: ShowO, recipe: ReaderRecipe, cache: Path) -> tuple[ReaderNet, dict[str, Tensor]]:
    """The net, and its shares of right classes per attribute float32 [A] on held-out photos "drawn" and "rebuilt".

    cache  where the album is kept
    """
    album = make_album(backbone, range(recipe.groups), cache)
    rng = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    net = ReaderNet(recipe.dropout)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps, pct_start=0.1)
    weights_A = torch.tensor([recipe.weight if name in CLEAR else 1.0 for name in ATTRIBUTES])
    for step in range(recipe.steps):
        chosen = rng.integers(len(album.photos), size=recipe.batch)
        loss = attribute_loss(net(album.lesson(chosen, rng)), album.truth_PA[torch.from_numpy(chosen)], weights_A)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            logger.info("reader: step %d of %d, loss %.3f", step, recipe.steps, loss.item())
    net.eval()
    held_out = make_album(backbone, range(recipe.held_out_from, recipe.held_out_from + recipe.held_out))
    return net, {
        kind: _hits(net, pixels, held_out.truth_PA)
        for kind, pixels in (("drawn", held_out.drawn_PHWC), ("rebuilt", held_out.rebuilt_PHWC))
    }


def write_reader(folder: Path, net: ReaderNet, recipe: ReaderRecipe, hits: dict[str, Tensor]) -> None:
    """Write `reader.safetensors` and its card, with the accuracies that were measured. Raises StorageError."""
    write_bytes(folder / "reader.safetensors", save(net.state_dict(), metadata={"format": "pt"}))
    rows = [
        f"| {name} | {100 * float(hits['drawn'][at]):.1f} % | {100 * float(hits['rebuilt'][at]):.1f} % |"
        for at, name in enumerate(ATTRIBUTES)
    ]
    text = f"""# Reader of Toyland pictures

A small convolutional net that names what a {SIDE} px Toyland picture shows. The judge of knowledge-driven drawings uses its
accessory, its colour and the place. Made by `python -m unictokens.pretrain FOLDER --reader` from drawings of this package
only; licence: Apache-2.0.

Right on {recipe.held_out * GROUP:,} held-out photos (groups from {recipe.held_out_from:,}; half of them show lookalikes), as drawn and as rebuilt from their image codes:

| attribute | drawn | rebuilt |
|---|---|---|
{chr(10).join(rows)}

## Settings

```
{json.dumps(asdict(recipe), indent=1)}
```
"""
    write_bytes(folder / "MODEL_CARD.md", text.encode())


@torch.no_grad()
def _hits(net: ReaderNet, pixels_PHWC: np.ndarray, truth_PA: Tensor) -> Tensor:
    parts = [net(to_network(pixels_PHWC[at : at + AT_ONCE])) for at in range(0, len(pixels_PHWC), AT_ONCE)]
    return attribute_hits(torch.cat(parts), truth_PA)
