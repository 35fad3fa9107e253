"""ArcFace vectors of portraits by insightface's `antelopev2` models; the only file that imports insightface."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unictokens.errors import DataError, DependencyError

log = logging.getLogger(__name__)

MODEL_FOLDER = Path("~/.insightface/models/antelopev2")
"""Where insightface looks for its models; they are not free for commercial use and are never downloaded by us."""
DETECTION_SIZE = 640
LONG_SIDE = 1280
STEP = 64


class InsightFace:
    """Detector and ArcFace encoder, opened on construction.

    Raises DependencyError without the library or without its model files, naming the folder that must hold them.
    """

    def __init__(self, folder: Path = MODEL_FOLDER) -> None:
        folder = folder.expanduser()
        setting = (
            "or choose another start for persons, for example stages.bootstrap.initial_person.generation=kmeans_images"
        )
        if not list(folder.glob("*.onnx")):
            raise DependencyError(f"face model folder '{folder}' has no .onnx files: put antelopev2 there, {setting}")
        try:
            from insightface.app import FaceAnalysis
        except ModuleNotFoundError as error:
            raise DependencyError(
                f"starting rows from faces needs the library '{error.name}': pip install insightface onnxruntime, {setting}"
            ) from error
        self._faces: Any = FaceAnalysis(name=folder.name, root=str(folder.parent.parent))
        self._faces.prepare(ctx_id=0, det_size=(DETECTION_SIZE, DETECTION_SIZE))

    def embed(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Raw vectors float32 [pictures, 512] of the largest faces; raises DataError for a picture without a face."""
        return torch.stack([self._largest(number, picture) for number, picture in enumerate(pictures)])

    def _largest(self, number: int, picture: Image.Image) -> Tensor:
        # The models were trained on OpenCV's channel order.
        pixels_HWC = np.ascontiguousarray(np.array(portrait_size(picture))[:, :, ::-1])
        found = self._faces.get(pixels_HWC)
        if not found:
            raise DataError(f"training picture {number} shows no face: replace it, or start persons from kmeans_images")
        largest = max(found, key=lambda face: (face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1]))
        return torch.from_numpy(np.asarray(largest.embedding, dtype=np.float32))


def portrait_size(picture: Image.Image) -> Image.Image:
    """The picture with its long side at 1280 pixels and both sides multiples of 64 (the published code's rule)."""
    scale = LONG_SIDE / max(picture.size)
    width, height = (max(STEP, int(side * scale + 0.5) // STEP * STEP) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)
