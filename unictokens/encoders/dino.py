"""DINO features of pictures by transformers' ViT, from a local folder (DreamBooth's convention: ViT-S/16, CLS feature)."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from unictokens.encoders.base import digest
from unictokens.errors import CheckpointError, DependencyError
from unictokens.images import View, to_tensor, view_image

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], which DINO was trained with."""
RESIZED = 256 / 224
"""Short side before the crop, in sides of the crop."""
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
AT_ONCE = 32


class Dino:
    """A vision transformer whose class token says what is alike.

    folder  holds `config.json` of a ViT and its weights, as `facebook/dino-vits16` is published
    Raises DependencyError without the library or the files, CheckpointError for files that are damaged or do not fit.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        folder = folder.expanduser()
        weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
        if weights is None or not (folder / "config.json").is_file():
            raise DependencyError(f"DINO folder '{folder}' lacks config.json or {WEIGHTS[0]}: put a ViT there")
        self.name = f"dino {folder.name}@{digest([weights])}"
        self._net: Any = _load(folder).eval().to(device)
        self._size: int = self._net.config.image_size
        self._device = device

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Unit vectors float32 [pictures, E] of the class token after the last layer's norm."""
        view = View(round(self._size * RESIZED), self._size)
        mean_C11, deviation_C11 = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        parts = []
        for start in range(0, len(pictures), AT_ONCE):
            some = [to_tensor(view_image(picture, view)) for picture in pictures[start : start + AT_ONCE]]
            images_BCHW = ((torch.stack(some) + 1) / 2 - mean_C11) / deviation_C11
            parts.append(self._net(images_BCHW.to(self._device)).last_hidden_state[:, 0].float().cpu())
        return functional.normalize(torch.cat(parts), dim=-1)


def _load(folder: Path) -> Any:
    try:
        from transformers import ViTModel
    except ModuleNotFoundError as error:
        raise DependencyError(f"DINO needs the library '{error.name}': pip install transformers") from error
    told = logging.getLogger("transformers").level
    try:
        logging.getLogger("transformers").setLevel(logging.ERROR)  # what is missing is our error below
        loaded: Any = ViTModel.from_pretrained(
            folder, local_files_only=True, add_pooling_layer=False, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"'{folder}' holds no ViT that can be read ({reason}): get the files again") from error
    finally:
        logging.getLogger("transformers").setLevel(told)
    net, found = loaded
    # A weight that is not in the file would be random, and the score with it.
    if missing := sorted(found["missing_keys"]):
        raise CheckpointError(f"'{folder}' lacks the weight {missing[0]} of a ViT: get a ViT such as dino-vits16")
    return net
