"""All randomness of a run behind one protocol, so that it is seeded normally and replayed from a recording in parity.

Every draw is keyed by what it is for (stage, epoch, step), never by what was drawn before it: a resumed run and a run in a
pack draw the same numbers as an undisturbed run alone.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator

from unictokens.backbones.base import MaskDraw
from unictokens.data.epochs import Choice
from unictokens.sampling.maskgit import training_mask


class Draws(Protocol):
    """Where a run's random numbers come from."""

    def generator(self, *purpose: str | int) -> Generator:
        """A CPU generator for a draw that no recording replaces."""
        ...

    def choices(self, stage: str) -> tuple[Choice, ...] | None:
        """Recorded order, flips and crops of a stage's epoch, or None to draw them from `generator("epoch", stage)`."""
        ...

    def flips(self, stage: str, pictures: int, probability: float) -> tuple[bool, ...]:
        """Which of the photos are mirrored before their codes start rows."""
        ...

    def masks(self, place: "Place", samples: int, codes: int, condition_dropout: float) -> tuple[MaskDraw, ...]:
        """The random part of `samples` drawing samples of one step, each with `codes` image codes."""
        ...

    def perception_seed(self, image: int) -> int:
        """Seed of the perception picture number `image`."""
        ...

    def perception_order(self, images: int) -> tuple[int, ...]:
        """Order in which the perception pictures enter k-means."""
        ...


@dataclass(frozen=True)
class Place:
    """A step of a run: stage name, epoch from 1, step from 1 within the epoch."""

    stage: str
    epoch: int
    step: int


@dataclass(frozen=True)
class SeededDraws:
    """Draws that follow from one seed."""

    seed: int

    def generator(self, *purpose: str | int) -> Generator:
        return Generator().manual_seed(derive(self.seed, *purpose))

    def choices(self, stage: str) -> tuple[Choice, ...] | None:
        return None

    def flips(self, stage: str, pictures: int, probability: float) -> tuple[bool, ...]:
        uniforms = torch.rand(pictures, generator=self.generator("flips", stage))
        return tuple(bool(uniform < probability) for uniform in uniforms)

    def masks(self, place: Place, samples: int, codes: int, condition_dropout: float) -> tuple[MaskDraw, ...]:
        generator = self.generator("masks", place.stage, place.epoch, place.step)
        return tuple(draw_mask(codes, condition_dropout, generator) for _ in range(samples))

    def perception_seed(self, image: int) -> int:
        # Neighbouring seeds, as the published code's recording does; P leaves room below the generator's 64 bits.
        return derive(self.seed, "perception") // 2 + image

    def perception_order(self, images: int) -> tuple[int, ...]:
        return tuple(range(images))


def derive(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2^63) for one purpose of a run."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def draw_mask(codes: int, condition_dropout: float, generator: Generator) -> MaskDraw:
    """One draw of Show-o's training objective: a share cos(pi u / 2) of the codes, at least one, is hidden."""
    time_B, order_BN = torch.rand(1, generator=generator), torch.rand(1, codes, generator=generator)
    masked_N = training_mask(time_B, order_BN)[0]
    return MaskDraw(masked_N, bool(torch.rand(1, generator=generator).item() < condition_dropout))
