"""Reads what a Toyland picture shows: a small net trained on renders and on their rebuilt versions, shipped with the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unictokens.data.toyland.world import ACCESSORIES, CLASSES, COLOURS, PATTERNS, PLACES
from unictokens.errors import CheckpointError
from unictokens.images import View, to_tensor, view_image
from unictokens.pretrain.attributes import ATTRIBUTES, SIZES

ASSET = Path(__file__).resolve().parents[1] / "assets" / "toyland_reader" / "reader.safetensors"
SIDE = 64
AT_ONCE = 100


class ReaderNet(nn.Module):
    """Pictures float32 [B, 3, 64, 64] in [-1, 1] to logits float32 [B, sum of SIZES].

    The last maps are read out place by place: an accessory is a few pixels wide, and a mean over a quarter of the picture
    would mix its colour with the figure's.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(3, 32, size=5, stride=2),
            *_convolution(32, 64, stride=2),
            Residual(64),
            *_convolution(64, 128, stride=2),
            Residual(128),
            Residual(128),
            *_convolution(128, 24, size=1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(24 * (SIDE // 8) ** 2, sum(SIZES)),
        )

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """See the class."""
        return self.layers(images_BCHW).float()


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolution(width, width), *_convolution(width, width))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Float32 [B, width, H, W] to the same."""
        return x_BCHW + self.layers(x_BCHW)


def _convolution(before: int, after: int, size: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(before, after, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


@dataclass(frozen=True)
class Reading:
    """What a picture shows, in Toyland's words; `accessory_colour` is None without an accessory."""

    cls: str
    colour: str
    pattern: str
    accessory: str
    accessory_colour: str | None
    place: str


class ToylandReader:
    """The trained net. Raises CheckpointError when its file is missing or damaged."""

    def __init__(self, path: Path = ASSET) -> None:
        self._net = ReaderNet().eval()
        try:
            self._net.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"'{path}' is no reader of Toyland pictures ({str(error)[:100]}): install the package again"
            ) from error

    @torch.no_grad()
    def read(self, pictures: Sequence[Image.Image]) -> list[Reading]:
        """One reading per RGB picture of any size."""
        found: list[Reading] = []
        for start in range(0, len(pictures), AT_ONCE):
            part = [to_tensor(view_image(picture, View(SIDE, SIDE))) for picture in pictures[start : start + AT_ONCE]]
            found += readings(self._net(torch.stack(part)))
        return found


def readings(logits_BL: Tensor) -> list[Reading]:
    """The likeliest value of each attribute."""
    parts = dict(zip(ATTRIBUTES, logits_BL.split(SIZES, dim=1), strict=True))
    said = {name: part.argmax(dim=1).tolist() for name, part in parts.items()}
    return [
        Reading(
            CLASSES[said["class"][row]],
            COLOURS[said["colour"][row]],
            PATTERNS[said["pattern"][row]],
            ACCESSORIES[said["accessory"][row]],
            (*COLOURS, None)[said["accessory colour"][row]],
            PLACES[said["place"][row]],
        )
        for row in range(len(logits_BL))
    ]
