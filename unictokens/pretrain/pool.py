"""A pool of drawn photos in shards on disk. One seed decides a photo, so a record of what is on it needs no storage."""

import logging
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unictokens.atomic import write_bytes
from unictokens.data.toyland import Photo, random_photo, render

logger = logging.getLogger(__name__)


def photo_of(seed: int) -> Photo:
    """The photo that `seed` stands for."""
    return random_photo(np.random.default_rng(seed))


def draw_pixels(seeds: range, size: int) -> np.ndarray:
    """Photos of `seeds` as uint8 [n, size, size, 3]."""
    return np.stack([np.asarray(render(photo_of(seed), size)) for seed in seeds])


def shard_path(folder: Path, kind: str, shard: int) -> Path:
    """Where shard number `shard` of `kind` ("pixels" or "codes") lies."""
    return folder / kind / f"{shard:04d}.npy"


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array atomically."""
    buffer = BytesIO()
    np.save(buffer, array)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, buffer.getvalue())


def draw_shards(folder: Path, shards: int, shard_size: int, image_size: int, processes: int) -> None:
    """Draw the pixel shards 0..shards-1 that do not exist yet, each uint8 [shard_size, image_size, image_size, 3]."""
    missing = [shard for shard in range(shards) if not shard_path(folder, "pixels", shard).is_file()]
    with ProcessPoolExecutor(processes) as executor:
        for shard in missing:
            start = shard * shard_size
            step = -(-shard_size // processes)
            parts = [range(at, min(at + step, start + shard_size)) for at in range(start, start + shard_size, step)]
            pixels = np.concatenate(list(executor.map(partial(draw_pixels, size=image_size), parts)))
            save_array(shard_path(folder, "pixels", shard), pixels)
            logger.info("drew photo shard %d of %d", shard + 1, shards)


def to_network(pixels_BHWC: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
