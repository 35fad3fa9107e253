"""Sizes to measure at, as random Show-o's with made-up photos and sentences of the usual lengths."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unictokens.backbones.base import GenerationSample, MaskDraw, Turn, UnderstandingSample
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.config import PHI_1_5, ShowOConfig
from unictokens.backbones.showo.image_tokenizer import MagvitConfig
from unictokens.backbones.showo.weights import load, random_backbone
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import identifier, introduction, join, subject
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.errors import ConfigError

ANSWERED = "Yes, it is."
LAYOUT = TokenLayout()


@dataclass(frozen=True)
class Shape:
    """A size: what it is, and how to make a backbone of it."""

    name: str
    about: str
    make: Callable[[], ShowO]


def _mini_tokenizer() -> TextTokenizer:
    return TextTokenizer.load(Path(str(files("unictokens"))) / "assets" / "mini" / "tokenizer.json")


def _random(**changed: Any) -> ShowO:
    return random_backbone(replace(ShowOConfig(), **changed), _mini_tokenizer(), seed=0)


def _trial() -> ShowO:
    phi = {**PHI_1_5, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 6, "num_attention_heads": 8}
    phi["num_key_value_heads"] = 8
    return _random(phi=phi, magvit=replace(MagvitConfig(), base=32))


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("mini", "the shipped base: 64 px, width 256, 6 layers", lambda: load("mini")),
        Shape(
            "trial",
            "512 px: vocabulary 58,498, sequence 1,155, width 512, 6 layers; image tokenizer a quarter as wide as published",
            _trial,
        ),
        Shape("full", "the published 512 px size: vocabulary 58,498, sequence 1,155, width 2,048, 24 layers", _random),
    )
}


def shape(name: str) -> Shape:
    """The shape of that name; raises ConfigError for an unknown one."""
    if name not in SHAPES:
        raise ConfigError(f"shape '{name}' is unknown: choose one of {', '.join(SHAPES)}")
    return SHAPES[name]


def photos(backbone: ShowO, count: int) -> Tensor:
    """Noise as photos, float32 [count, 3, size, size] in [-1, 1]."""
    size = backbone.config.image_size
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def question(codes_N: Tensor, slot: int = 0) -> UnderstandingSample:
    """A recognition question as the warm-up asks it (about forty text ids with 16 shared tokens)."""
    asked = join(introduction(LAYOUT, ("shared",)), "\nIs ", identifier(LAYOUT), " in the photo?")
    return UnderstandingSample(codes_N, (Turn(asked, (ANSWERED,)),), (slot,))


def drawing(codes_N: Tensor, seed: int, slot: int = 0) -> tuple[GenerationSample, MaskDraw]:
    """A drawing of the concept with 2 / pi of the codes hidden, the mean of the training objective."""
    hidden_N = torch.rand(len(codes_N), generator=torch.Generator().manual_seed(seed)) < 2 / torch.pi
    sample = GenerationSample(codes_N, join("A photo of ", subject(LAYOUT), "."), (slot,))
    return sample, MaskDraw(hidden_N)
