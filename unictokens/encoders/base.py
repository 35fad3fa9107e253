"""Protocols of picture encoders and the tables of what implements them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image
from torch import Tensor

from unictokens.errors import CheckpointError, DependencyError


class PictureEncoder(Protocol):
    """Turns pictures into directions: the more alike two pictures, the larger their cosine."""

    @property
    def name(self) -> str:
        """Which encoder with which weights, such as "clip toyland@3fa8b1c2d4e5" (first digits of the file's SHA-256)."""
        ...

    def pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Unit vectors float32 [pictures, E] of RGB pictures of any size."""
        ...


class PictureTextEncoder(PictureEncoder, Protocol):
    """Puts texts among the pictures."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors float32 [texts, E]; texts too long for the model are cut."""
        ...


class FaceEncoder(Protocol):
    """Turns portraits into identity vectors."""

    @property
    def name(self) -> str:
        """See `PictureEncoder.name`."""
        ...

    def embed(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Raw (not normalised) vectors float32 [pictures, E] of the largest face of each RGB picture.

        Raises DataError for a picture without a face.
        """
        ...

    def faces(self, pictures: Sequence[Image.Image]) -> list[Tensor | None]:
        """Unit vectors float32 [E] of the largest faces; None for a picture without any."""
        ...


PICTURE_TEXT_ENCODERS: dict[str, str] = {"clip": "unictokens.encoders.clip:Clip"}
PICTURE_ENCODERS: dict[str, str] = {"dino": "unictokens.encoders.dino:Dino"}
FACE_ENCODERS: dict[str, str] = {"antelopev2": "unictokens.encoders.face:InsightFace"}
"""Name to `module:class`; see `unictokens.lookup.resolve`."""


def digest(files: Sequence[Path]) -> str:
    """First 12 hex digits of the SHA-256 over the files' bytes, one after the other.

    Raises DependencyError for a file that is missing, CheckpointError for one that cannot be read.
    """
    found = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as opened:
                while part := opened.read(2**20):
                    found.update(part)
        except FileNotFoundError as error:
            raise DependencyError(f"model file '{file}' does not exist: correct the path, or put it there") from error
        except OSError as error:
            raise CheckpointError(f"model file '{file}' cannot be read ({error.strerror}): check the path") from error
    return found.hexdigest()[:12]
