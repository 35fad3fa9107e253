"""Pools of drawn photos in shards on disk. One seed decides a photo, so a record of what is on it needs no storage.

There are three pools: `strangers`, photos of anybody; `companions`, for each of them another photo of the same individual or of a
lookalike; and `residents`, photos of Toyland's residents and their lookalikes.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unictokens.atomic import write_bytes
from unictokens.data.toyland import Photo, random_photo, render, resident_photo
from unictokens.data.toyland.residents import LOOKALIKES
from unictokens.data.toyland.world import hard_negative

logger = logging.getLogger(__name__)


def photo_of(seed: int) -> Photo:
    """The photo that `seed` stands for."""
    return random_photo(np.random.default_rng(seed))


def resident_photo_of(seed: int) -> Photo:
    """The photo of a resident, or of a lookalike, that `seed` stands for."""
    return resident_photo(np.random.default_rng((seed, 11)))


def companion_photo_of(seed: int) -> Photo:
    """Another photo of whom photo `seed` of the strangers shows, or of a lookalike, who differs in one fine feature."""
    rng = np.random.default_rng((seed, 13))
    subject = photo_of(seed).subject
    return random_photo(rng, hard_negative(subject, rng) if rng.random() < LOOKALIKES else subject)


POOLS: dict[str, Callable[[int], Photo]] = {
    "strangers": photo_of,
    "companions": companion_photo_of,
    "residents": resident_photo_of,
}


def draw_pixels(seeds: range, size: int, pool: str = "strangers") -> np.ndarray:
    """Photos of `seeds` as uint8 [n, size, size, 3]."""
    return np.stack([np.asarray(render(POOLS[pool](seed), size)) for seed in seeds])


def shard_path(folder: Path, pool: str, kind: str, shard: int) -> Path:
    """Where shard number `shard` of a pool's `kind` ("pixels", or codes of an image tokenizer) lies."""
    return folder / pool / kind / f"{shard:04d}.npy"


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array atomically."""
    buffer = BytesIO()
    np.save(buffer, array)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, buffer.getvalue())


def draw_shards(
    folder: Path, pool: str, shards: int, shard_size: int, image_size: int, processes: int, codes: str | None = None
) -> None:
    """Draw a pool's pixel shards 0..shards-1 that do not exist yet, each uint8 [shard_size, image_size, image_size, 3].

    Where only the codes of kind `codes` are needed, a shard that has them needs no pixels.
    """
    enough = ["pixels"] if codes is None else ["pixels", codes]
    missing = [
        shard for shard in range(shards) if not any(shard_path(folder, pool, kind, shard).is_file() for kind in enough)
    ]
    with ProcessPoolExecutor(processes) as executor:
        for shard in missing:
            start = shard * shard_size
            step = -(-shard_size // processes)
            parts = [range(at, min(at + step, start + shard_size)) for at in range(start, start + shard_size, step)]
            pixels = np.concatenate(list(executor.map(partial(draw_pixels, size=image_size, pool=pool), parts)))
            save_array(shard_path(folder, pool, "pixels", shard), pixels)
            logger.info("drew shard %d of %d of the pool of %s", shard + 1, shards, pool)


def to_network(pixels_BHWC: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
