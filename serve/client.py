"""All that the API knows of whoever computes: requests that are resolved already, and a stream of events for each.

Names became learned rows by position before they come here, so nobody behind this door reads names out of text. Breaking
off the iteration over a request's events cancels it.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from unictokens.backbones.base import Decoding, Sampling, Turn
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import FrozenModel
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.store import ConceptStore
from unictokens.errors import ServeError


@dataclass(frozen=True)
class Reference:
    """A version of somebody's concept: `concept` is its random id, the others say where `ConceptStore` has it.

    The id is never used again for another concept, so what is kept under `key` cannot be confused with a later one.
    """

    concept: str
    store: Path
    name: str
    version: int

    @property
    def key(self) -> str:
        """What caches keep it under."""
        return f"{self.concept}@{self.version}"

    def load(self, backbone: FrozenModel) -> ConceptBundle:
        """Its rows. Raises StorageError for damaged or absent files, ConceptError for rows of another backbone."""
        return ConceptStore(self.store).get(self.name, self.version, backbone)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ask:
    """A question, last of the `turns` of a conversation.

    concepts in the order in which the text counts them; names: what the answer calls them
    user     whose turn it is: whoever computes is fair between users
    picture  RGB, square, of the model's size; None for a question about no picture
    seconds  after which the request ends with TimedOut
    """

    user: str
    turns: tuple[Turn, ...]
    concepts: tuple[Reference, ...]
    names: tuple[str, ...]
    picture: Image.Image | None
    decoding: Decoding
    seed: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Canvas:
    """What to redraw: RGB `picture` of the model's size, and bool [S, S] where it shall change (at least one place)."""

    picture: Image.Image
    redraw: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """A drawing, from nothing or on a canvas; `partials` unfinished pictures are shown on the way."""

    user: str
    prompt: Prompt
    concepts: tuple[Reference, ...]
    sampling: Sampling
    seed: int
    seconds: float
    canvas: Canvas | None = None
    partials: int = 0


@dataclass(frozen=True)
class Accepted:
    """The request has its place; from now on only its own fault or the server's can end it."""


@dataclass(frozen=True)
class Said:
    """A piece of an answer."""

    text: str


@dataclass(frozen=True)
class Answered:
    """The whole answer, how it ended, and its length in tokens."""

    text: str
    ended: Literal["stop", "length"]
    tokens: int


@dataclass(frozen=True, eq=False)
class Sketch:
    """The picture as it stands, number `index` from 0."""

    index: int
    picture: Image.Image


@dataclass(frozen=True, eq=False)
class Drawn:
    """The finished picture, RGB of the model's size."""

    picture: Image.Image


AnswerEvent = Accepted | Said | Answered
DrawEvent = Accepted | Sketch | Drawn


class Unavailable(ServeError):
    """One concept of the request cannot be used: it is damaged, of another backbone, or its store is away."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is served; `image_size` in pixels, `fingerprint` of the frozen weights."""

    name: str
    image_size: int
    fingerprint: str


class Client(Protocol):
    """Whoever computes. Iterators raise Busy, TimedOut, Unavailable, or another ServeError."""

    @property
    def info(self) -> ModelInfo: ...

    def question_tokens(self, turns: Sequence[Turn], longest: int) -> int:
        """Tokens of a conversation. Raises RequestError, which names the room beside an answer of `longest`, for too many."""
        ...

    def drawing_tokens(self, prompt: Prompt) -> int:
        """Tokens of a drawing prompt. Raises RequestError as above."""
        ...

    def answer(self, request: Ask) -> AsyncGenerator[AnswerEvent]:
        """Accepted, pieces, Answered."""
        ...

    def draw(self, request: Draw) -> AsyncGenerator[DrawEvent]:
        """Accepted, sketches, Drawn."""
        ...

    def forget(self, concept: str) -> None:
        """Drop whatever is kept of a concept (by its id), in all versions."""
        ...

    def ready(self) -> bool:
        """Whether requests are taken now."""
        ...
