"""The six places, each a little different every time. Coordinates are unit coordinates of the picture."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from unictokens.data.toyland.brush import RGB, mix


class _Sheet:
    """Plain shapes in unit coordinates on a square picture."""

    def __init__(self, image: Image.Image) -> None:
        self._draw = ImageDraw.Draw(image)
        self._size = image.width

    def box(self, left: float, top: float, right: float, bottom: float, fill: RGB) -> None:
        n = self._size
        x0, y0, x1, y1 = round(left * n), round(top * n), round(right * n) - 1, round(bottom * n) - 1
        if x1 >= x0 and y1 >= y0:
            self._draw.rectangle((x0, y0, x1, y1), fill=fill)

    def disc(self, x: float, y: float, rx: float, ry: float, fill: RGB) -> None:
        n = self._size
        self._draw.ellipse(((x - rx) * n, (y - ry) * n, (x + rx) * n, (y + ry) * n), fill=fill)

    def polygon(self, points: list[tuple[float, float]], fill: RGB) -> None:
        self._draw.polygon([(x * self._size, y * self._size) for x, y in points], fill=fill)


def draw_scene(image: Image.Image, place: str, rng: np.random.Generator) -> None:
    """Fill a square RGB picture with `place`; `rng` draws its horizon, trees, houses."""
    _SCENES[place](_Sheet(image), rng)


def _shift(rng: np.random.Generator, colour: RGB, by: int = 8) -> RGB:
    r, g, b = (int(np.clip(c + rng.integers(-by, by + 1), 0, 255)) for c in colour)
    return (r, g, b)


def _beach(sheet: _Sheet, rng: np.random.Generator) -> None:
    sea, shore = rng.uniform(0.3, 0.4), rng.uniform(0.5, 0.6)
    sheet.box(0, 0, 1, sea, _shift(rng, (150, 214, 246)))
    sheet.disc(rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.16), 0.09, 0.09, (255, 236, 110))
    sheet.box(0, sea, 1, shore, _shift(rng, (22, 120, 190)))
    for _ in range(3):
        x, y = rng.uniform(0, 0.9), rng.uniform(sea + 0.03, shore - 0.05)
        sheet.box(x, y, x + 0.16, y + 0.022, (150, 210, 236))
    sheet.box(0, shore, 1, shore + 0.025, (250, 250, 246))
    sheet.box(0, shore + 0.025, 1, 1, _shift(rng, (240, 212, 142)))
    for _ in range(3):
        x, y = rng.uniform(0, 1), rng.uniform(shore + 0.08, 0.96)
        sheet.disc(x, y, 0.03, 0.02, (214, 180, 110))


def _forest(sheet: _Sheet, rng: np.random.Generator) -> None:
    ground = rng.uniform(0.66, 0.76)
    sheet.box(0, 0, 1, ground, _shift(rng, (26, 74, 44)))
    sheet.box(0, ground, 1, 1, _shift(rng, (64, 72, 38)))
    for x in np.linspace(0.04, 0.96, 6) + rng.uniform(-0.05, 0.05, 6):
        width = rng.uniform(0.03, 0.05)
        sheet.box(x - width, 0, x + width, ground + rng.uniform(0.02, 0.08), _shift(rng, (82, 56, 38)))
    for x in np.linspace(0, 1, 6) + rng.uniform(-0.06, 0.06, 6):
        sheet.disc(x, rng.uniform(0.0, 0.1), 0.14, 0.13, _shift(rng, (18, 104, 52), 12))
    for _ in range(3):
        sheet.disc(rng.uniform(0, 1), rng.uniform(ground + 0.1, 1), 0.09, 0.03, _shift(rng, (84, 92, 44)))


def _city(sheet: _Sheet, rng: np.random.Generator) -> None:
    street = rng.uniform(0.76, 0.84)
    sheet.box(0, 0, 1, street, _shift(rng, (214, 190, 204)))
    x = -rng.uniform(0, 0.1)
    while x < 1:
        width, top = rng.uniform(0.17, 0.26), rng.uniform(0.05, 0.4)
        wall = _shift(rng, ((120, 122, 134), (146, 116, 108), (94, 102, 124))[int(rng.integers(3))])
        sheet.box(x, top, x + width - 0.012, street, wall)
        for row in np.arange(top + 0.06, street - 0.1, 0.18):
            for column in np.arange(x + 0.035, x + width - 0.07, 0.125):
                lit = rng.random() < 0.7
                sheet.box(
                    column, row, column + 0.07, row + 0.1, (255, 228, 130) if lit else mix(wall, (20, 24, 50), 0.6)
                )
        x += width
    sheet.box(0, street, 1, 1, _shift(rng, (70, 70, 78)))
    for start in np.arange(rng.uniform(-0.2, 0.0), 1, 0.3):
        sheet.box(start, 0.92, start + 0.16, 0.945, (235, 235, 220))


def _snow(sheet: _Sheet, rng: np.random.Generator) -> None:
    ground = rng.uniform(0.5, 0.6)
    sheet.box(0, 0, 1, 1, _shift(rng, (168, 186, 214)))
    for peak in (rng.uniform(0.1, 0.35), rng.uniform(0.6, 0.9)):
        top = rng.uniform(0.1, 0.25)
        sheet.polygon(
            [(peak - 0.4, ground + 0.05), (peak, top), (peak + 0.4, ground + 0.05)], _shift(rng, (116, 136, 172))
        )
        sheet.polygon([(peak - 0.12, top + 0.13), (peak, top), (peak + 0.12, top + 0.13)], (246, 250, 255))
    for x in (rng.uniform(0.03, 0.2), rng.uniform(0.8, 0.97)):
        for step in range(3):
            y = ground - 0.16 + step * 0.1
            sheet.polygon(
                [(x - 0.07 - step * 0.025, y + 0.12), (x, y - 0.04), (x + 0.07 + step * 0.025, y + 0.12)], (44, 96, 88)
            )
            sheet.polygon([(x - 0.035, y + 0.02), (x, y - 0.04), (x + 0.035, y + 0.02)], (246, 250, 255))
    sheet.disc(rng.uniform(0.2, 0.8), ground + 0.42, 1.0, 0.46, _shift(rng, (232, 240, 250), 5))
    sheet.box(0, ground + 0.14, 1, 1, _shift(rng, (232, 240, 250), 5))
    for _ in range(7):
        sheet.disc(rng.uniform(0, 1), rng.uniform(0, 1), 0.022, 0.022, (255, 255, 255))


def _kitchen(sheet: _Sheet, rng: np.random.Generator) -> None:
    counter = rng.uniform(0.68, 0.78)
    sheet.box(0, 0, 1, counter, _shift(rng, (186, 226, 214)))
    step = 0.25
    for line in np.arange(rng.uniform(0, step), 1, step):
        sheet.box(line, 0, line + 0.02, counter, (222, 242, 234))
        sheet.box(0, line, 1, min(line + 0.02, counter), (222, 242, 234))
    shelf, left = rng.uniform(0.22, 0.3), rng.uniform(0.0, 0.15)
    for x in np.arange(left, 1.0, rng.uniform(0.2, 0.26)):
        sheet.box(
            x,
            shelf - 0.13,
            x + 0.09,
            shelf,
            _shift(rng, ((206, 84, 60), (236, 190, 90), (96, 124, 160))[int(rng.integers(3))]),
        )
    sheet.box(0, shelf, 1, shelf + 0.035, (150, 98, 58))
    sheet.box(0, counter, 1, 1, _shift(rng, (196, 138, 84)))
    sheet.box(0, counter, 1, counter + 0.035, (120, 76, 44))
    for x in np.arange(rng.uniform(0.0, 0.2), 1, 0.33):
        sheet.box(x, counter + 0.035, x + 0.015, 1, (150, 100, 58))


def _meadow(sheet: _Sheet, rng: np.random.Generator) -> None:
    ground = rng.uniform(0.4, 0.5)
    sheet.box(0, 0, 1, 1, _shift(rng, (130, 196, 250)))
    for _ in range(2):
        x, y = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.22)
        for offset in (-0.08, 0.0, 0.08):
            sheet.disc(x + offset, y, 0.09, 0.05, (250, 252, 255))
    sheet.disc(rng.uniform(0.1, 0.9), ground + 0.3, 0.6, 0.36, _shift(rng, (110, 190, 70)))
    sheet.box(0, ground + 0.1, 1, 1, _shift(rng, (138, 212, 78)))
    for _ in range(6):
        x, y = rng.uniform(0, 1), rng.uniform(ground + 0.16, 0.98)
        petals = ((250, 90, 110), (255, 240, 90), (250, 250, 250), (220, 130, 230))[int(rng.integers(4))]
        sheet.disc(x, y, 0.036, 0.036, petals)
        sheet.disc(x, y, 0.014, 0.014, (250, 180, 40))


_SCENES: dict[str, Callable[[_Sheet, np.random.Generator], None]] = {
    "beach": _beach,
    "forest": _forest,
    "city": _city,
    "snow": _snow,
    "kitchen": _kitchen,
    "meadow": _meadow,
}
