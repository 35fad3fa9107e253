"""Personal markings and the things a figure wears."""

from unictokens.data.toyland.brush import INK, RGB, Brush, arc, mix, oval, poly, slab
from unictokens.data.toyland.look import ACCENT, Anchors, Look
from unictokens.data.toyland.world import MARKINGS

RADIUS = 0.13
"""Half the span of a marking in figure units: 13 to 16 pixels across in a 64 pixel picture."""

_BLACK: RGB = (22, 20, 26)
_WHITE: RGB = (252, 252, 252)
_TONES: tuple[tuple[RGB, RGB], ...] = ((_BLACK, _WHITE), (_WHITE, _BLACK), (_BLACK, ACCENT))


def draw_marking(brush: Brush, look: Look, anchors: Anchors) -> None:
    """The subject's marking at its slot, on a disc of a contrasting tone so that no coat or shirt can hide it."""
    x, y = anchors.slots[look.fine.slot]
    colour, disc = _TONES[look.fine.tone]
    shape = MARKINGS[look.fine.marking]
    brush.shape(oval(x, y, RADIUS, RADIUS), disc, edge=0.02, ink=_BLACK if disc != _BLACK else _WHITE)
    r = RADIUS * 0.8
    if shape == "ring":
        brush.shape(oval(x, y, r, r), colour, edge=0)
        brush.shape(oval(x, y, r * 0.45, r * 0.45), disc, edge=0)
    elif shape == "cross":
        t = r * 0.3
        brush.shape(slab(x - t, y - r, x + t, y + r), colour, edge=0)
        brush.shape(slab(x - r, y - t, x + r, y + t), colour, edge=0)
    elif shape == "triangle":
        brush.shape(poly((x, y - r), (x + r * 0.92, y + r * 0.62), (x - r * 0.92, y + r * 0.62)), colour, edge=0)
    else:
        for offset in (-0.48, 0.48):
            middle = y + offset * r
            brush.shape(slab(x - r * 0.95, middle - r * 0.27, x + r * 0.95, middle + r * 0.27), colour, edge=0)


def draw_accessory(brush: Brush, kind: str, look: Look, anchors: Anchors) -> None:
    """Hat on the crown, scarf round the neck, bow at the side of the crown, or a balloon on a string."""
    if look.accessory is None:
        return
    colour = look.accessory
    {"hat": _hat, "scarf": _scarf, "bow": _bow, "balloon": _balloon}[kind](brush, colour, anchors)


def _hat(brush: Brush, colour: RGB, anchors: Anchors) -> None:
    x, y, half = anchors.crown
    half = max(half, 0.15)
    brush.shape(
        poly(
            (x - half * 0.72, y + 0.01),
            (x - half * 0.6, y - 0.2),
            (x + half * 0.6, y - 0.2),
            (x + half * 0.72, y + 0.01),
        ),
        colour,
    )
    brush.shape(slab(x - half * 0.68, y - 0.055, x + half * 0.68, y - 0.01), mix(colour, INK, 0.55), edge=0)
    brush.shape(slab(x - half * 1.35, y - 0.015, x + half * 1.35, y + 0.045, 0.03), colour)


def _scarf(brush: Brush, colour: RGB, anchors: Anchors) -> None:
    x, y, half = anchors.neck
    brush.shape(slab(x + half * 0.35, y, x + half * 0.35 + 0.12, y + 0.24, 0.02), mix(colour, INK, 0.12))
    brush.shape(slab(x - half, y - 0.055, x + half, y + 0.06, 0.055), colour)


def _bow(brush: Brush, colour: RGB, anchors: Anchors) -> None:
    x, y, half = anchors.crown
    x += half * 0.55
    for side in (-1, 1):
        brush.shape(poly((x, y), (x + side * 0.17, y - 0.1), (x + side * 0.17, y + 0.1)), colour)
    brush.shape(oval(x, y, 0.05, 0.055), mix(colour, INK, 0.2))


def _balloon(brush: Brush, colour: RGB, anchors: Anchors) -> None:
    x, y = anchors.balloon
    hand_x, hand_y = anchors.hand
    brush.line(poly((x, y + 0.13), ((x + hand_x) / 2 + 0.02, (y + hand_y) / 2 + 0.05), (hand_x, hand_y)), INK, 0.014)
    brush.shape(poly((x, y + 0.12), (x + 0.035, y + 0.17), (x - 0.035, y + 0.17)), colour, edge=0.014)
    brush.shape(oval(x, y, 0.12, 0.145), colour)
    brush.line(arc(x - 0.01, y, 0.07, 0.09, 190, 250), mix(colour, (255, 255, 255), 0.7), 0.025)
