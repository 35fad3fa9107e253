"""Protocols of picture encoders and the table of what implements them."""

from collections.abc import Sequence
from typing import Protocol

from PIL import Image
from torch import Tensor


class FaceEncoder(Protocol):
    """Turns portraits into identity vectors."""

    def embed(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Raw (not normalised) vectors float32 [pictures, E] of the largest face of each RGB picture.

        Raises DataError for a picture without a face.
        """
        ...


FACE_ENCODERS: dict[str, str] = {"antelopev2": "unictokens.encoders.face:InsightFace"}
"""Name to `module:class`; see `unictokens.lookup.resolve`."""
