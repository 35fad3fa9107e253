"""Pictures that strangers send: looked at from outside first, decoded only within bounds, cleaned of everything but pixels."""

import base64
import binascii
import io
import re

import numpy as np
from PIL import Image, ImageOps

from serve.limits import Limits
from serve.refusal import Refusal, wrong
from unictokens.images import View, view_image

FORMATS = ("JPEG", "PNG", "WEBP")
SEVERAL_VIEWS = "MPO"
"""A JPEG with further pictures behind the first, as phones write them; the first one is taken."""
_DATA = re.compile(r"data:image/(?:jpeg|jpg|png|webp);base64,", re.IGNORECASE)


def read_picture(data: bytes, limits: Limits, param: str, alpha: bool = False) -> Image.Image:
    """An upright picture, RGB (RGBA with `alpha`), without any metadata.

    Raises Refusal (400, or 413 for too many bytes or pixels) from the header alone wherever that suffices.
    """
    if len(data) > limits.image_bytes:
        raise Refusal(
            413, "image_too_large", f"the picture has {len(data)} bytes: at most {limits.image_bytes} are read", param
        )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            _check_header(picture, limits, param)
            upright = ImageOps.exif_transpose(picture).convert("RGBA" if alpha else "RGB")
            # A copy by pixels: convert() returns the same object, metadata and all, when the mode fits already.
            clean = Image.new(upright.mode, upright.size)
            clean.paste(upright)
            return clean
    except Refusal:
        raise
    except Image.DecompressionBombError as error:
        raise _pixels(limits, param) from error
    # Pillow's readers report damage by a dozen kinds of error (OSError, SyntaxError, struct.error, zlib.error, ...).
    except Exception as error:
        raise wrong(
            "invalid_image", "the picture cannot be read: send an intact JPEG, PNG or WebP of one frame", param
        ) from error


def _check_header(picture: Image.Image, limits: Limits, param: str) -> None:
    width, height = picture.size
    if width * height > limits.image_pixels:
        raise _pixels(limits, param)
    if min(width, height) < limits.image_side or max(width, height) > limits.image_ratio * min(width, height):
        raise wrong(
            "invalid_image",
            f"the picture is {width}x{height}: both sides need at least {limits.image_side} pixels and the longer at most "
            f"{limits.image_ratio:g} times the shorter",
            param,
        )
    if picture.format != SEVERAL_VIEWS and getattr(picture, "n_frames", 1) > 1:
        raise wrong("invalid_image", "the picture is animated: send one frame", param)


def _pixels(limits: Limits, param: str) -> Refusal:
    megapixels = limits.image_pixels // 1_000_000
    return Refusal(413, "image_too_large", f"the picture is larger than {megapixels} megapixels: shrink it", param)


def read_data_uri(url: str, limits: Limits, param: str) -> bytes:
    """The bytes of a `data:image/...;base64,` URI. Raises Refusal for anything else: nothing is ever fetched."""
    start = _DATA.match(url)
    if start is None:
        raise wrong(
            "invalid_image_url",
            "pictures are taken as data:image/png;base64,... (or jpeg, webp) only: no address is fetched",
            param,
        )
    if len(url) > limits.image_bytes * 4 // 3 + 100:
        raise Refusal(413, "image_too_large", f"the picture has more than {limits.image_bytes} bytes", param)
    try:
        return base64.b64decode(url[start.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong("invalid_image_url", "the picture's base64 is damaged: encode it again", param) from error


def encode_png(picture: Image.Image) -> bytes:
    """The picture as PNG."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def redraw_where_clear(mask: Image.Image, size: int, param: str) -> np.ndarray:
    """Bool [size, size], True where an RGBA mask is fully transparent, as OpenAI's edits define it, seen as pictures are seen.

    Raises Refusal when that is nowhere.
    """
    # Clear or not is decided before scaling, which would blend the two along every edge.
    clear = mask.getchannel("A").point([255] + [0] * 255)
    redraw = np.asarray(view_image(clear, View(size, size))) >= 128
    if not redraw.any():
        raise wrong("invalid_mask", "no pixel of the mask is transparent: make clear what shall be redrawn", param)
    return redraw


def paste(drawn: Image.Image, picture: Image.Image, redraw: np.ndarray) -> Image.Image:
    """`drawn` where `redraw` (bool [S, S]) says so, the original pixels elsewhere."""
    mixed = np.where(redraw[:, :, None], np.asarray(drawn), np.asarray(picture))
    return Image.fromarray(mixed.astype(np.uint8))
