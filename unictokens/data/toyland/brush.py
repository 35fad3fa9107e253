"""A brush that draws filled, outlined shapes in a figure's own coordinates onto a picture."""

from collections.abc import Sequence
from functools import lru_cache
from math import cos, pi, radians, sin

import numpy as np
from PIL import Image, ImageChops, ImageDraw

RGB = tuple[int, int, int]
Points = np.ndarray
"""float64 `[n, 2]`, x and y of a polygon's corners in figure coordinates."""

INK: RGB = (30, 26, 32)
LIGHT_INK: RGB = (158, 158, 168)


def luma(colour: RGB) -> float:
    """Perceived brightness, 0..255 (ITU-R BT.601 weights)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def mix(colour: RGB, other: RGB, share: float) -> RGB:
    """`colour` moved towards `other` by `share` in [0, 1]."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(colour, other, strict=True))
    return (r, g, b)


def ink_for(fill: RGB) -> RGB:
    """Outline colour: dark, except around fills as dark as ink, whose shape would vanish."""
    return LIGHT_INK if luma(fill) < 62 else INK


@lru_cache(maxsize=64)
def _circle(start: float, stop: float, count: int) -> np.ndarray:
    angle = np.radians(np.linspace(start, stop, count, endpoint=stop - start < 360))
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


def oval(cx: float, cy: float, rx: float, ry: float, tilt: float = 0.0) -> Points:
    """Ellipse as a polygon; `tilt` in degrees, clockwise."""
    points = _circle(0.0, 360.0, 26) * (rx, ry)
    if tilt:
        c, s = cos(radians(tilt)), sin(radians(tilt))
        points = points @ np.array(((c, s), (-s, c)))
    return points + np.array((cx, cy))


def arc(cx: float, cy: float, rx: float, ry: float, start: float, stop: float) -> Points:
    """Points along an ellipse from `start` to `stop` degrees (0 = right, 90 = down)."""
    return _circle(start, stop, 14) * (rx, ry) + (cx, cy)


def slab(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> Points:
    """Rectangle with rounded corners."""
    if radius <= 0:
        return np.array(((left, top), (right, top), (right, bottom), (left, bottom)))
    corners = (
        (right - radius, top + radius, -90.0),
        (right - radius, bottom - radius, 0.0),
        (left + radius, bottom - radius, 90.0),
        (left + radius, top + radius, 180.0),
    )
    return np.concatenate([_circle(a, a + 90.0, 6) * radius + (x, y) for x, y, a in corners])


def poly(*points: tuple[float, float]) -> Points:
    """Polygon from corner pairs."""
    return np.array(points)


class Brush:
    """Draws in figure coordinates through one affine map `[2, 3]` to pixels."""

    def __init__(self, image: Image.Image, matrix: np.ndarray) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)
        self._linear = matrix[:, :2].T.copy()
        self._shift = matrix[:, 2].copy()
        self._unit = float(abs(np.linalg.det(matrix[:, :2])) ** 0.5)

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return [(x, y) for x, y in (points @ self._linear + self._shift).tolist()]

    def width(self, units: float) -> int:
        """Line width in pixels for a width in figure units."""
        return max(1, round(units * self._unit))

    def shape(self, points: Points, fill: RGB, edge: float = 0.022, ink: RGB | None = None) -> None:
        """Filled polygon with an outline `edge` wide (0 for none)."""
        pixels = self._pixels(points)
        self._draw.polygon(pixels, fill=fill)
        if edge > 0:
            self._outline(pixels, ink_for(fill) if ink is None else ink, edge)

    def _outline(self, pixels: list[tuple[float, float]], ink: RGB, edge: float) -> None:
        self._draw.line([*pixels, pixels[0], pixels[1]], fill=ink, width=self.width(edge), joint="curve")

    def line(self, points: Points, colour: RGB, width: float) -> None:
        """Open line with round ends."""
        pixels = self._pixels(points)
        self._draw.line(pixels, fill=colour, width=self.width(width), joint="curve")
        radius = self.width(width) / 2
        for x, y in (pixels[0], pixels[-1]):
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def tube(self, points: Points, colour: RGB, width: float, edge: float = 0.022) -> None:
        """Open line with an outline on both sides: tails, handles, straps."""
        self.line(points, ink_for(colour), width + 2 * edge)
        self.line(points, colour, width)

    def coat(self, points: Points, fill: RGB, pattern: str, tint: RGB, edge: float = 0.022) -> None:
        """Filled polygon that wears a pattern (`plain`, `striped`, `spotted`, `checked`) in `tint`, clipped to it."""
        pixels = self._pixels(points)
        self._draw.polygon(pixels, fill=fill)
        if pattern != "plain":
            self._pattern(points, pixels, pattern, tint)
        self._outline(pixels, ink_for(fill), edge)

    def _pattern(self, points: Points, pixels: Sequence[tuple[float, float]], pattern: str, tint: RGB) -> None:
        xs, ys = [p[0] for p in pixels], [p[1] for p in pixels]
        left, top = max(0, int(min(xs))), max(0, int(min(ys)))
        right, bottom = min(self.image.width, int(max(xs)) + 2), min(self.image.height, int(max(ys)) + 2)
        if right <= left or bottom <= top:
            return
        region = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(region).polygon([(x - left, y - top) for x, y in pixels], fill=255)
        motif = Image.new("L", region.size)
        draw = ImageDraw.Draw(motif)
        for piece in _motifs(pattern, points):
            draw.polygon([(x - left, y - top) for x, y in self._pixels(piece)], fill=255)
        self.image.paste(tint, (left, top), ImageChops.multiply(region, motif))


def _motifs(pattern: str, points: Points) -> list[Points]:
    """Polygons of a pattern that cover the bounding box of `points`."""
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    pieces: list[Points] = []
    if pattern == "striped":
        step = 0.24
        first = cx - step * (int((cx - x0) / step) + 1)
        while first < x1:
            pieces.append(slab(first - 0.06, y0, first + 0.06, y1))
            first += step
    elif pattern == "spotted":
        step = 0.24
        rows, columns = int((y1 - y0) / step / 2) + 1, int((x1 - x0) / step / 2) + 1
        for row in range(-rows, rows + 1):
            for column in range(-columns - 1, columns + 1):
                pieces.append(oval(cx + (column + 0.5 * (row % 2)) * step, cy + row * step * 0.87, 0.08, 0.08))
    elif pattern == "checked":
        step = 0.155
        rows, columns = int((y1 - y0) / step / 2) + 1, int((x1 - x0) / step / 2) + 1
        for row in range(-rows - 1, rows + 1):
            for column in range(-columns - 1, columns + 1):
                if (row + column) % 2 == 0:
                    x, y = cx + column * step, cy + row * step
                    pieces.append(slab(x, y, x + step, y + step))
    return pieces


def pose_matrix(x: float, y: float, scale: float, flip: bool, rotation: float, pixels: int) -> np.ndarray:
    """Affine map `[2, 3]` from figure coordinates (box of height 1 around 0) to pixels of a square picture."""
    angle = rotation * pi / 180
    size = scale * pixels
    mirror = -1.0 if flip else 1.0
    return np.array(
        (
            (cos(angle) * size * mirror, -sin(angle) * size, x * pixels),
            (sin(angle) * size * mirror, cos(angle) * size, y * pixels),
        )
    )
