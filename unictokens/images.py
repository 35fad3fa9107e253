"""Pictures on disk to tensors and back: the only place that knows about [-1, 1] and about hostile image files."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from unictokens.errors import DataError

MAX_PIXELS = 50_000_000
"""Largest picture (width x height) that is decoded at all; a header that claims more is refused unread."""


@dataclass(frozen=True)
class View:
    """One deterministic way to look at a picture: resize the short side, crop a square, maybe mirror.

    short_side  pixels of the short side after the bicubic resize
    size        side of the square crop in pixels
    corner      (top, left) of the crop, or None for the centre
    flip        mirror left-right after the crop
    """

    short_side: int
    size: int
    corner: tuple[int, int] | None = None
    flip: bool = False


def load_image(source: Path | bytes) -> Image.Image:
    """Read a picture as upright RGB.

    Raises DataError for a missing, truncated or non-image file and for one of more than `MAX_PIXELS` pixels, which is
    refused from its header before any pixel is decoded.
    """
    name = f"'{source}'" if isinstance(source, Path) else "the uploaded image"
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(
                    f"image {name} is {picture.width}x{picture.height}: shrink it below {MAX_PIXELS // 1_000_000} megapixels"
                )
            upright = ImageOps.exif_transpose(picture)
            return upright.convert("RGB")
    except FileNotFoundError as error:
        raise DataError(f"image {name} does not exist: correct the path or remove it from the dataset") from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"image {name} claims too many pixels: shrink it below {MAX_PIXELS // 1_000_000} megapixels"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"image {name} cannot be read ({error}): replace it by an intact PNG or JPEG") from error


def resized_size(size: tuple[int, int], view: View) -> tuple[int, int]:
    """(width, height) of a picture of `size` after the resize of a view, before its crop."""
    width, height = size
    # The long side is truncated, as torchvision's Resize does, which the published training code uses.
    if width <= height:
        return view.short_side, max(view.size, int(view.short_side * height / width))
    return max(view.size, int(view.short_side * width / height)), view.short_side


def view_image(picture: Image.Image, view: View) -> Image.Image:
    """Apply a view: bicubic resize of the short side, square crop, mirror."""
    resized = resized_size(picture.size, view)
    if resized != picture.size:
        picture = picture.resize(resized, Image.Resampling.BICUBIC)
    top, left = view.corner or (round((picture.height - view.size) / 2), round((picture.width - view.size) / 2))
    picture = picture.crop((left, top, left + view.size, top + view.size))
    return ImageOps.mirror(picture) if view.flip else picture


def to_tensor(picture: Image.Image) -> Tensor:
    """RGB picture to float32 [3, H, W] in [-1, 1]."""
    pixels_HWC = torch.from_numpy(np.array(picture, dtype=np.uint8))
    return pixels_HWC.permute(2, 0, 1).to(torch.float32) / 255.0 * 2.0 - 1.0


def to_pictures(images_BCHW: Tensor) -> list[Image.Image]:
    """float [B, 3, H, W], nominally in [-1, 1], to RGB pictures (clamped, truncated to bytes as Show-o does)."""
    unit = ((images_BCHW.detach().float() + 1.0) / 2.0).clamp(0.0, 1.0)
    pixels_BHWC = (unit * 255.0).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(pixels) for pixels in pixels_BHWC]
