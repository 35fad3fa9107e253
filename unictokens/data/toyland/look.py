"""How one photo's words become colours, and the places on a figure where other things attach."""

from dataclasses import dataclass

import numpy as np

from unictokens.data.toyland.brush import RGB, luma, mix
from unictokens.data.toyland.world import FineIdentity, Photo

PALETTE: dict[str, RGB] = {
    "red": (222, 40, 38),
    "orange": (245, 132, 22),
    "yellow": (250, 218, 48),
    "green": (44, 160, 66),
    "blue": (42, 92, 216),
    "purple": (134, 58, 178),
    "pink": (252, 148, 198),
    "brown": (128, 78, 44),
    "black": (38, 38, 44),
    "white": (246, 246, 243),
}
SKINS: tuple[RGB, ...] = ((255, 228, 208), (238, 186, 138), (182, 120, 74), (112, 70, 50))
ACCENT: RGB = (0, 214, 204)
"""A turquoise that is none of the nameable colours."""

AMBER: RGB = (255, 190, 20)
"""Irises and lamps: warmer than yellow, paler than orange."""

CHEEK: RGB = (238, 92, 110)
"""Cheeks, and whatever plays their part on an object."""

JITTER = 9


@dataclass(frozen=True)
class Look:
    """Colours and levels a figure is drawn with. `second` is the pattern's colour; for persons it is the shirt's."""

    body: RGB
    second: RGB
    pattern: str
    fine: FineIdentity
    accessory: RGB | None

    @property
    def skin(self) -> RGB:
        """Skin tone of a person."""
        return SKINS[self.fine.skin]

    @property
    def ear_colour(self) -> RGB:
        """Ears, handles, spouts and roofs: the body's colour, a clear contrast to it, or turquoise, by level."""
        contrast = mix(self.body, (255, 255, 255), 0.7) if luma(self.body) < 130 else mix(self.body, (0, 0, 0), 0.6)
        return (self.body, contrast, mix(self.body, ACCENT, 0.75))[self.fine.ears]

    @property
    def shirt_tint(self) -> RGB:
        """Colour of pattern lines on a shirt: a strong lighter or darker tint of the shirt's colour."""
        return mix(self.second, (255, 255, 255), 0.62) if luma(self.second) < 150 else mix(self.second, (0, 0, 0), 0.48)


@dataclass(frozen=True)
class Anchors:
    """Where things attach, in figure coordinates.

    `slots` centres of the three places a marking may take; `crown` top centre of the head and half its width, for hat
    and bow; `neck` centre and half width, for a scarf; `hand` where a balloon's string is held; `balloon` its centre.
    """

    slots: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    crown: tuple[float, float, float]
    neck: tuple[float, float, float]
    hand: tuple[float, float]
    balloon: tuple[float, float]


def jittered(name: str, rng: np.random.Generator) -> RGB:
    """A palette colour, moved a little: no two photos have quite the same light."""
    r, g, b = (int(np.clip(c + rng.integers(-JITTER, JITTER + 1), 0, 255)) for c in PALETTE[name])
    return (r, g, b)


def look_of(photo: Photo, rng: np.random.Generator) -> Look:
    """Resolve a photo's colour words with this photo's jitter."""
    return Look(
        body=jittered(photo.subject.colour, rng),
        second=jittered(photo.second, rng),
        pattern=photo.pattern,
        fine=photo.subject.fine,
        accessory=None if photo.accessory_colour is None else jittered(photo.accessory_colour, rng),
    )
