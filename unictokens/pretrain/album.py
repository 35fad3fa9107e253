"""Photos for nets that look at pictures: each stranger twice, and a lookalike twice, as drawn and as rebuilt from codes.

Models draw like rebuilt photos look, so a net that shall read drawings must know both. One album serves several nets and is kept
on disk.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.showo.backbone import ShowO
from unictokens.data.toyland import Photo, hard_negative, random_photo, random_subject, render
from unictokens.pretrain.attributes import attributes_of
from unictokens.pretrain.codes import codes_kind
from unictokens.pretrain.pool import save_array, to_network

logger = logging.getLogger(__name__)
GROUP = 4
"""Photos of a group: two of a stranger, then two of a lookalike, who differs in one fine feature."""
SIDE = 64
AT_ONCE = 100
SHIFT = 3
LIGHT = 0.15


@dataclass(frozen=True)
class Album:
    """photos P records; drawn, rebuilt uint8 [P, 64, 64, 3]; truth int64 [P, A], class numbers of `attributes`."""

    photos: list[Photo]
    drawn_PHWC: np.ndarray
    rebuilt_PHWC: np.ndarray
    truth_PA: Tensor

    def lesson(self, chosen: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Photos `chosen`, each drawn or rebuilt with equal chance, jittered; float32 [n, 3, 64, 64] in [-1, 1]."""
        rebuilt = rng.random(len(chosen)) < 0.5
        pixels = np.where(rebuilt[:, None, None, None], self.rebuilt_PHWC[chosen], self.drawn_PHWC[chosen])
        return jitter(to_network(pixels), rng)


def group_photos(group: int) -> list[Photo]:
    """The photos of a group; its number decides them."""
    rng = np.random.default_rng((group, 23))
    subject = random_subject(rng)
    return [random_photo(rng, each) for each in (subject, subject, *[hard_negative(subject, rng)] * 2)]


def make_album(backbone: ShowO, groups: range, cache: Path | None = None) -> Album:
    """The album of these groups; with `cache`, its pictures are kept there. Raises StorageError."""
    photos = [photo for group in groups for photo in group_photos(group)]
    truth = torch.tensor([attributes_of(photo) for photo in photos])
    name = f"album-{groups.start}-{groups.stop}-{codes_kind(backbone.magvit)}.npy"
    if cache is not None and (cache / name).is_file():
        drawn, rebuilt = np.load(cache / name)
        return Album(photos, drawn, rebuilt, truth)
    drawn = np.stack([np.asarray(render(photo, SIDE)) for photo in photos])
    logger.info("drew %d photos", len(photos))
    rebuilt = np.concatenate([rebuild(backbone, drawn[at : at + AT_ONCE]) for at in range(0, len(drawn), AT_ONCE)])
    logger.info("rebuilt them from their codes")
    if cache is not None:
        save_array(cache / name, np.stack([drawn, rebuilt]))
    return Album(photos, drawn, rebuilt, truth)


def jitter(images_BCHW: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures moved by up to 3 pixels (borders repeated) and made up to 15 % lighter or darker, each in its own way."""
    count, _, height, width = images_BCHW.shape
    padded = functional.pad(images_BCHW, (SHIFT,) * 4, mode="replicate")
    moves = rng.integers(2 * SHIFT + 1, size=(count, 2))
    moved = torch.stack([padded[at, :, y : y + height, x : x + width] for at, (y, x) in enumerate(moves)])
    light = torch.from_numpy(rng.uniform(1 - LIGHT, 1 + LIGHT, count)).float()[:, None, None, None]
    return ((moved + 1) * light - 1).clamp(-1, 1)


def rebuild(backbone: ShowO, pixels_PHWC: np.ndarray) -> np.ndarray:
    """Photos as they come back from their image codes, uint8 [P, H, W, 3] both."""
    images = backbone.decode(backbone.encode(to_network(pixels_PHWC)))
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
