"""A unified model one step at a time: what a server needs that mixes requests which begin and end at different moments.

Drawings (`Canvas`) and answers (`Speech`) are opened one by one, advanced together by one step of the model whatever step
each is at, and left when they are done. What is opened depends on nothing but its own request: neighbours change neither
its random numbers nor, where the arithmetic allows, a single bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from unictokens.backbones.base import BackboneInfo, Decoding, Sampling, Turn
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.tokens import ConceptTokens


@dataclass(eq=False)
class Canvas:
    """A drawing under way.

    codes_N  int64 [N] where the model is: as sampled in the latest step, none of them hidden
    step     steps that are done, of `sampling.steps`
    broken   why it cannot go on, or ""
    state    the model's own business
    """

    sampling: Sampling
    codes_N: Tensor
    state: Any
    step: int = 0
    broken: str = ""

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.sampling.steps


@dataclass(eq=False)
class Speech:
    """An answer under way.

    ids      what was said so far, the end-of-text id included
    stopped  "stop" at its own end, "length" at `decoding.max_tokens`, "" while it goes on
    broken   why it cannot go on, or ""
    state    the model's own business
    """

    decoding: Decoding
    state: Any
    ids: list[int]
    stopped: Literal["", "stop", "length"] = ""
    broken: str = ""


class Stepper(Protocol):
    """A model that draws and answers in steps. One thread opens and draws canvases, one (the same or another) opens, goes on with and
    closes speeches; everything else may be called from any."""

    @property
    def info(self) -> BackboneInfo: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def prefix_reads(self) -> tuple[int, int]:
        """How often the keys of a question's picture were kept from before, and how often they had to be computed."""
        ...

    def drawing_ids(self, prompt: Prompt) -> list[int]:
        """Text ids of a drawing prompt. Raises RequestError, which names the room, when it is too long."""
        ...

    def question_ids(self, turns: Sequence[Turn], max_tokens: int) -> list[int]:
        """Text ids of a conversation whose last turn wants an answer of up to `max_tokens`. Raises RequestError as above."""
        ...

    def codes(self, picture_CHW: Tensor) -> Tensor:
        """Codes int64 [N] on the CPU of a picture float32 [3, image_size, image_size] in [-1, 1]."""
        ...

    def forget_picture(self, codes_N: Tensor) -> None:
        """Drop what was kept of a picture (codes int64 [N]) that questions were about; speeches that are open go on."""
        ...

    def pictures(self, codes_BN: Tensor) -> Tensor:
        """Pictures float32 [B, 3, image_size, image_size] on the CPU of codes int64 [B, N]."""
        ...

    def open_canvas(
        self,
        ids: Sequence[int],
        concepts: Sequence[ConceptTokens],
        sampling: Sampling,
        seed: int,
        start_N: Tensor | None = None,
    ) -> Canvas:
        """Begin a drawing: its text is read here, once.

        concepts  rows of the concepts that the ids count, on the model's device
        start_N   int64 [N] codes to keep, HIDDEN (-1) where to draw; the schedule counts the hidden ones
        """
        ...

    def draw(self, canvases: Sequence[Canvas]) -> None:
        """Advance each canvas by one step, all in one pass."""
        ...

    def open_speech(
        self,
        ids: Sequence[int],
        codes_N: Tensor | None,
        concepts: Sequence[ConceptTokens],
        names: Sequence[str],
        decoding: Decoding,
        seed: int,
    ) -> Speech:
        """Begin an answer about a picture (codes int64 [N]) or none: the question is read and the first id said here.

        names  what the answer calls the concepts
        """
        ...

    def speak(self) -> None:
        """Say the next id of every open speech that has not stopped, all in one pass."""
        ...

    def close_speech(self, speech: Speech) -> None:
        """Forget what was kept for a speech; for one that is closed already, nothing."""
        ...

    def heard(self, speech: Speech) -> str:
        """The text said since the last call; unfinished characters and blanks at the end wait until it goes on or stops."""
        ...

    def text(self, speech: Speech) -> str:
        """All that was said so far, without surrounding blanks."""
        ...
