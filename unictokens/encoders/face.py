"""ArcFace vectors of portraits by insightface's `antelopev2` models; the only file that imports insightface."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from unictokens.encoders.base import digest
from unictokens.errors import CheckpointError, DataError, DependencyError

log = logging.getLogger(__name__)

MODEL_FOLDER = Path("~/.insightface/models/antelopev2")
"""Where insightface looks for its models; they are not free for commercial use and are never downloaded by us."""
DETECTION_SIZE = 640
LONG_SIDE = 1280
STEP = 64


class InsightFace:
    """Detector and ArcFace encoder, opened on construction.

    Raises DependencyError without the library or without its model files, naming the folder that must hold them, CheckpointError
    for model files that are damaged or lack the detector or the encoder.
    """

    def __init__(self, folder: Path = MODEL_FOLDER) -> None:
        folder = model_folder(folder.expanduser())
        files = sorted(folder.glob("*.onnx"))
        if not files:
            raise DependencyError(
                f"face model folder '{folder}' has no .onnx files: put antelopev2 there, or choose another start for persons, "
                "for example stages.bootstrap.initial_person.generation=kmeans_images"
            )
        try:
            from insightface.app import FaceAnalysis
        except ModuleNotFoundError as error:
            raise DependencyError(
                f"faces need the library '{error.name}': pip install insightface onnxruntime, or choose another start for "
                "persons, for example stages.bootstrap.initial_person.generation=kmeans_images"
            ) from error
        self.name = f"face {folder.name}@{digest(files)}"
        try:
            # insightface downloads models of a name that it does not find; a folder's path it takes as it is.
            self._faces: Any = FaceAnalysis(name=str(folder), allowed_modules=["detection", "recognition"])
            self._faces.prepare(ctx_id=0, det_size=(DETECTION_SIZE, DETECTION_SIZE))
        except Exception as error:  # onnxruntime's errors have no common base of their own
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise CheckpointError(
                f"'{folder}' has face models that cannot be opened ({reason}): get them again"
            ) from error
        if "recognition" not in self._faces.models:
            raise CheckpointError(f"'{folder}' has no ArcFace model: add glintr100.onnx of antelopev2")

    def embed(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Raw vectors float32 [pictures, 512] of the largest faces; raises DataError for a picture without a face."""
        found = []
        for number, picture in enumerate(pictures):
            vector_E = self._largest(portrait_size(picture))
            if vector_E is None:
                raise DataError(
                    f"training picture {number} shows no face: replace it, or start persons from kmeans_images"
                )
            found.append(vector_E)
        return torch.stack(found)

    def faces(self, pictures: Sequence[Image.Image]) -> list[Tensor | None]:
        """Unit vectors float32 [512] of the largest faces of pictures as they are; None for one without a face."""
        found = [self._largest(picture) for picture in pictures]
        return [None if vector_E is None else functional.normalize(vector_E, dim=0) for vector_E in found]

    def _largest(self, picture: Image.Image) -> Tensor | None:
        # The models were trained on OpenCV's channel order.
        found = self._faces.get(np.ascontiguousarray(np.array(picture)[:, :, ::-1]))
        if not found:
            return None
        largest = max(found, key=lambda face: (face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1]))
        return torch.from_numpy(np.asarray(largest.embedding, dtype=np.float32))


def model_folder(folder: Path) -> Path:
    """The folder with the models: the published archive of antelopev2 has them one folder deeper than it should."""
    inner = folder / folder.name
    return inner if not list(folder.glob("*.onnx")) and list(inner.glob("*.onnx")) else folder


def portrait_size(picture: Image.Image) -> Image.Image:
    """The picture with its long side at 1280 pixels and both sides multiples of 64 (the published code's rule)."""
    scale = LONG_SIDE / max(picture.size)
    width, height = (max(STEP, int(side * scale + 0.5) // STEP * STEP) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)
