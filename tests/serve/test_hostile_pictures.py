"""Pictures that lie, explode or are none get a 4xx in bounded time and memory; odd but honest ones are read, and nothing is fetched."""

import io
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable

import pytest
from people import Person, png, uri, with_picture
from PIL import Image

from serve.limits import MIB


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header claims a size; its pixels may be missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def frames(kind: str) -> bytes:
    stream = io.BytesIO()
    many = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in range(0, 200, 2)]
    many[0].save(stream, kind, save_all=True, append_images=many[1:])
    return stream.getvalue()


def text_bomb() -> bytes:
    bomb = b"Comment\x00\x00" + zlib.compress(b"a" * (200 * MIB), 9)
    whole = png((32, 32))
    return whole[:33] + chunk(b"zTXt", bomb) + whole[33:]


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("../x.png", b"0" * 10_000_000)
    return stream.getvalue()


def exif_heavy() -> bytes:
    whole = png((32, 32), kind="JPEG")
    return whole[:2] + (b"\xff\xe1\xff\xff" + b"\x00" * 65_533) * 320 + whole[2:]


PICTURES: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "9000x9000": (lambda: png_of(9000, 9000, b"\x00" * 9001 * 9000), (413,)),
    "claims 12000x12000": (lambda: png_of(12_000, 12_000), (413,)),
    "claims 20000x20000": (lambda: png_of(20_000, 20_000), (413,)),
    "claims 4 gigapixels": (lambda: png_of(2**31 - 1, 2**31 - 1), (413, 400)),
    "1x1": (lambda: png((1, 1)), (400,)),
    "1x60000": (lambda: png_of(1, 60_000, b"\x00" * 2 * 60_000), (400,)),
    "20x16000": (lambda: png((20, 16_000)), (400,)),
    "animated PNG": (lambda: frames("PNG"), (400,)),
    "animated WebP": (lambda: frames("WEBP"), (400,)),
    "GIF": (lambda: frames("GIF"), (400,)),
    "truncated": (lambda: png((200, 200), kind="JPEG")[:400], (400,)),
    "no pixels": (lambda: png_of(64, 64), (400,)),
    "text bomb": (text_bomb, (400,)),
    "20 MB of EXIF": (exif_heavy, (413,)),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", (400,)),
    "zip": (archive, (400,)),
    "HEIC": (lambda: b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1" + b"\x00" * 100, (400,)),
    "TIFF": (lambda: png(kind="TIFF"), (400,)),
    "empty": (lambda: b"", (400,)),
    "noise": (lambda: bytes(range(256)) * 40, (400,)),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", PICTURES)
def test_hostile_pictures_are_refused_quickly_in_little_memory(eve: Person, name: str) -> None:
    make, statuses = PICTURES[name]
    data, lesson = make(), {"name": "bo", "class_word": "dog", "info": "A dog."}
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    answers = [
        eve.post("/v1/chat/completions", json=with_picture("What?", uri(data))),
        eve.post("/v1/images/edits", files={"image": ("a.png", data)}, data={"prompt": "A hat."}),
        eve.post("/v1/concepts", files={"photos": ("a.png", data)}, data=lesson),
    ]
    assert {answer.status_code for answer in answers} <= set(statuses), [answer.text for answer in answers]
    assert all(answer.json()["error"]["message"] for answer in answers)
    assert time.process_time() - begun < 3.0, "a second each"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("P", "PNG"), ("I;16", "PNG"), ("LA", "PNG"), ("L", "WEBP")]
)
def test_unusual_but_honest_pictures_are_read(eve: Person, mode: str, kind: str) -> None:
    colour = {"CMYK": (9, 9, 9, 9), "LA": (9, 9)}.get(mode, 9)
    answer = eve.post("/v1/chat/completions", json=with_picture("What?", uri(png((40, 30), colour, mode, kind))))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data", "https://example.com/a.png", "file:///etc/passwd", "gopher://x",
        "http://[::ffff:169.254.169.254]/", "//host/a.png", "/etc/passwd", "", "data:", "data:text/html;base64,aGk=",
        "data:image/svg+xml;base64,aGk=", "data:image/png,raw", "data:image/png;base64,***",
        "DATA:IMAGE/PNG;BASE64,a", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_nothing_is_fetched(eve: Person, url: str) -> None:
    answer = eve.post("/v1/chat/completions", json=with_picture("What?", url))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")
