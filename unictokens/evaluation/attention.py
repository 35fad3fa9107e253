"""Where a concept's tokens look in a photo (paper Figure 6, right): attention of the real transformer, as numbers and as a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from unictokens.backbones.base import AnswerRequest, Attention, BackboneInfo
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.prompt import identifier, join
from unictokens.errors import ConceptError
from unictokens.images import View, load_image, to_tensor, view_image

ENLARGED = 4
STRENGTH = 0.75
COLD, HOT = (24, 32, 90), (255, 196, 40)


class Attending(Protocol):
    """A backbone that can say where a question's text looks."""

    @property
    def info(self) -> BackboneInfo: ...

    def encode(self, images_BCHW: Tensor) -> Tensor: ...

    def attention(self, request: AnswerRequest, bank: ConceptBank) -> Attention: ...


@dataclass(frozen=True, eq=False)
class Gaze:
    """Attention to the places of a photo, mean over layers and heads.

    tokens_N  float32 [N]  of the concept's learned rows in the question, mean over them
    answer_N  float32 [N]  of the place that decides the answer's first word
    """

    tokens_N: Tensor
    answer_N: Tensor

    @property
    def share(self) -> tuple[float, float]:
        """How much of all attention the photo gets, from the tokens and from the answer's place, 0 to 1."""
        return float(self.tokens_N.sum()), float(self.answer_N.sum())


def gaze(backbone: Attending, bundle: ConceptBundle, photo: Path) -> Gaze:
    """Where the concept looks in "Is <name> in the photo?", asked behind its introduction.

    Raises DataError for a photo that cannot be read, ConceptError for rows of another backbone.
    """
    bundle.require_backbone(backbone.info)
    card, size = bundle.card, backbone.info.image_size
    codes_N = backbone.encode(to_tensor(view_image(load_image(photo), View(size, size)))[None])[0]
    introduction = card.introduction()
    before = join(introduction, "\n") if introduction else ()
    question = join(before, "Is ", identifier(card.layout), " in the photo?")
    found = backbone.attention(AnswerRequest(question, codes_N, (0,), (card.name,)), ConceptBank.stack([bundle.tokens]))
    if not bool(found.learned_T.any()):
        raise ConceptError(f"concept '{card.name}' has no rows in its question: train its identifier")
    weights_TN = found.weights_LHTN.mean((0, 1))
    return Gaze(weights_TN[found.learned_T].mean(0), weights_TN[-1])


def overlay(photo: Path, weights_N: Tensor, size: int) -> Image.Image:
    """The photo as the model sees it (`size` pixels, enlarged) under a map of its square grid of places, brightest at the most."""
    picture = view_image(load_image(photo), View(size, size))
    side = round(weights_N.numel() ** 0.5)
    weights_HW = weights_N.reshape(side, side).numpy()
    strength = (weights_HW - weights_HW.min()) / max(float(np.ptp(weights_HW)), 1e-12)
    large = size * ENLARGED
    mask = Image.fromarray((strength * 255).astype(np.uint8)).resize((large, large), Image.Resampling.BICUBIC)
    heat = np.array(mask, dtype=np.float32)[:, :, None] / 255
    seen = np.array(picture.resize((large, large), Image.Resampling.LANCZOS), dtype=np.float32)
    colour = heat * np.array(HOT) + (1 - heat) * np.array(COLD)
    mixed = seen * (1 - STRENGTH * 0.8) + colour * STRENGTH * 0.8
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
