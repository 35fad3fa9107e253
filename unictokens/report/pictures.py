"""Pictures inside the page: small copies as data URIs."""

import base64
import io
from html import escape
from pathlib import Path

from PIL import Image

from unictokens.errors import DataError
from unictokens.images import load_image

SIDE = 192
"""Longest side of an embedded copy in pixels."""


def picture(path: Path, caption: str, kind: str = "") -> str:
    """A figure of the file with a caption; a file that cannot be read becomes its reason."""
    try:
        image = load_image(path)
    except DataError as error:
        return f'<figure class="{kind}"><div class="gone">{escape(str(error))}</div></figure>'
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="{kind}"><img src="{_uri(image)}" alt="{escape(caption or path.name)}">{text}</figure>'


def thumbnail(path: Path) -> str:
    """A picture alone."""
    try:
        return f'<img class="thumb" src="{_uri(load_image(path))}" alt="">'
    except DataError:
        return '<div class="thumb"></div>'


def _uri(image: Image.Image) -> str:
    small = max(image.size) <= SIDE
    if not small:
        image = image.copy()
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Small pictures are what the model drew: kept exactly. Photos lose nothing one would see.
    if small:
        image.save(buffer, format="PNG", optimize=True)
    else:
        image.save(buffer, format="JPEG", quality=85)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
