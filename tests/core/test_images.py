"""Pictures come in safely and look the same on the way out."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unictokens.errors import DataError
from unictokens.images import View, load_image, to_pictures, to_tensor, view_image


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_bytes_survive_the_network_range() -> None:
    original = picture(8, 8)
    tensor = to_tensor(original)
    assert tensor.shape == (3, 8, 8) and tensor.dtype == torch.float32
    assert float(tensor.min()) >= -1.0 and float(tensor.max()) <= 1.0
    difference = np.asarray(to_pictures(tensor[None])[0]).astype(int) - np.asarray(original).astype(int)
    assert abs(difference).max() <= 1  # bytes are truncated, as Show-o does


def test_view_resizes_crops_and_mirrors() -> None:
    original = picture(40, 20)
    centre = view_image(original, View(short_side=20, size=20))
    assert centre.size == (20, 20)
    assert np.array_equal(np.asarray(centre), np.asarray(original)[:, 10:30])
    mirrored = view_image(original, View(short_side=20, size=20, corner=(0, 5), flip=True))
    assert np.array_equal(np.asarray(mirrored), np.asarray(original)[:, 5:25][:, ::-1])


def test_missing_truncated_and_foreign_files_are_named(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    picture(64, 64).save(good)
    truncated, text = tmp_path / "cut.png", tmp_path / "text.png"
    truncated.write_bytes(good.read_bytes()[:600])
    text.write_text("not an image")
    for path in (tmp_path / "none.png", truncated, text):
        with pytest.raises(DataError, match=path.name):
            load_image(path)


def test_enormous_picture_is_refused_before_decoding(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )
    with pytest.raises(DataError, match=r"bomb\.png"):
        load_image(bomb)


def test_upright_by_exif(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(30, 20).save(path, exif=exif)
    assert load_image(path).size == (20, 30)
