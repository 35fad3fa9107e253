"""Pictures of a run on disk."""

import io
from pathlib import Path

from PIL import Image

from unictokens.atomic import write_bytes


def save_png(path: Path, picture: Image.Image) -> None:
    """Write a picture atomically as PNG. Raises StorageError."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())
