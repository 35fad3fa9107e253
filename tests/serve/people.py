"""Users of an endpoint and their concepts, as tests speak for them."""

from dataclasses import dataclass
from pathlib import Path

import torch
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
        body = {"model": "fake", "messages": [{"role": "user", "content": text}], **more}
        return self.post("/v1/chat/completions", json=body)
