"""Users of an endpoint, their concepts and what they send, as tests speak for them."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from starlette.testclient import TestClient

from serve.users.accounts import User
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens

LAYOUT = TokenLayout(shared=2, generation=1, understanding=1)
STAMP = BackboneStamp(name="fake", width=32, vocabulary=1000, fingerprint="f" * 64)


def bundle(name: str, seed: int = 0, stamp: BackboneStamp = STAMP) -> ConceptBundle:
    """Random rows."""
    generator = torch.Generator().manual_seed(seed)
    width = stamp.width
    rows = [0.1 * torch.randn(shape, generator=generator) for shape in ((5, width), (5, width), (5,))]
    card = ConceptCard(name=name, class_word="dog", info=f"<{name}> is a dog.", layout=LAYOUT, backbone=stamp)
    return ConceptBundle(ConceptTokens(LAYOUT, *rows), card)


@dataclass
class Person:
    """A user with a key, and how they speak to the endpoint."""

    user: User
    key: str
    key_id: str
    http: TestClient
    root: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def get(self, path: str):  # type: ignore[no-untyped-def]
        return self.http.get(path, headers=self.headers)

    def post(self, path: str, **more):  # type: ignore[no-untyped-def]
        return self.http.post(path, headers={**self.headers, **more.pop("headers", {})}, **more)

    def put(self, path: str, **more):  # type: ignore[no-untyped-def]
        return self.http.put(path, headers=self.headers, **more)

    def delete(self, path: str):  # type: ignore[no-untyped-def]
        return self.http.delete(path, headers=self.headers)

    def ask(self, text: str, **more):  # type: ignore[no-untyped-def]
        return self.post("/v1/chat/completions", json=chat(text, **more))


def chat(content: object = "Hello.", **more: object) -> dict[str, object]:
    """The body of a chat with one message."""
    return {"model": "fake", "messages": [{"role": "user", "content": content}], **more}


def with_picture(text: str, url: str) -> dict[str, object]:
    return chat([{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}])


def png(size: tuple[int, int] = (40, 30), colour: object = "red", mode: str = "RGB", kind: str = "PNG") -> bytes:
    """The file of a picture of one colour."""
    stream = io.BytesIO()
    Image.new(mode, size, colour).save(stream, kind)  # type: ignore[arg-type]
    return stream.getvalue()


def uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
