"""Train the net that reads Toyland pictures for the judge: `python -m unictokens.pretrain FOLDER --reader`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from unictokens.atomic import write_bytes
from unictokens.backbones.showo.backbone import ShowO
from unictokens.evaluation.toyland_reader import SIDE, ReaderNet
from unictokens.pretrain.album import rebuild
from unictokens.pretrain.attributes import ATTRIBUTES, attribute_hits, attribute_loss, attributes_of
from unictokens.pretrain.pool import draw_pixels, photo_of, to_network

AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class ReaderRecipe:
    """photos are strangers'; each is learned as drawn and as rebuilt from its codes, which is what models draw like.

    held_out_seed  first seed of the photos that accuracy is measured on; no pool has them
    """

    photos: int = 24_000
    held_out: int = 2_000
    steps: int = 5_000
    batch: int = 64
    lr: float = 2e-3
    dropout: float = 0.3
    seed: int = 0
    held_out_seed: int = 950_000_000


def train_reader(backbone: ShowO, recipe: ReaderRecipe) -> tuple[ReaderNet, dict[str, Tensor]]:
    """The net, and its shares of right classes per attribute float32 [A] on held-out photos "drawn" and "rebuilt"."""
    drawn_PHWC, rebuilt_PHWC, truth_PA = _lessons(backbone, range(recipe.photos))
    rng = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    net = ReaderNet(recipe.dropout)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps, pct_start=0.1)
    for _ in range(recipe.steps):
        chosen = rng.integers(recipe.photos, size=recipe.batch)
        rebuilt = rng.random(recipe.batch) < 0.5
        pixels = np.where(rebuilt[:, None, None, None], rebuilt_PHWC[chosen], drawn_PHWC[chosen])
        loss = attribute_loss(net(to_network(pixels)), truth_PA[torch.from_numpy(chosen)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net.eval()
    drawn, rebuilt, truth = _lessons(backbone, range(recipe.held_out_seed, recipe.held_out_seed + recipe.held_out))
    return net, {"drawn": _hits(net, drawn, truth), "rebuilt": _hits(net, rebuilt, truth)}


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

Right on {recipe.held_out:,} held-out photos (seeds from {recipe.held_out_seed:,}), as drawn and as rebuilt from their image codes:

| attribute | drawn | rebuilt |
|---|---|---|
{chr(10).join(rows)}

## Settings

```
{json.dumps(asdict(recipe), indent=1)}
```
"""
    write_bytes(folder / "MODEL_CARD.md", text.encode())


def _lessons(backbone: ShowO, seeds: range) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Photos as drawn and as rebuilt, uint8 [P, 64, 64, 3] both, and their class numbers int64 [P, A]."""
    drawn, rebuilt = [], []
    for start in range(0, len(seeds), AT_ONCE):
        pixels = draw_pixels(seeds[start : start + AT_ONCE], SIDE)
        drawn.append(pixels)
        rebuilt.append(rebuild(backbone, pixels))
    truth = torch.tensor([attributes_of(photo_of(seed)) for seed in seeds])
    return np.concatenate(drawn), np.concatenate(rebuilt), truth


@torch.no_grad()
def _hits(net: ReaderNet, pixels_PHWC: np.ndarray, truth_PA: Tensor) -> Tensor:
    parts = [net(to_network(pixels_PHWC[at : at + AT_ONCE])) for at in range(0, len(pixels_PHWC), AT_ONCE)]
    return attribute_hits(torch.cat(parts), truth_PA)
