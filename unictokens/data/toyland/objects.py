"""Mug, teapot and car: a handle, a spout, wheels."""

import numpy as np

from unictokens.data.toyland.brush import RGB, Brush, arc, mix, oval, poly, slab
from unictokens.data.toyland.look import AMBER, CHEEK, Anchors, Look

GLASS: RGB = (190, 226, 240)
TYRE: RGB = (40, 38, 44)
METAL: RGB = (214, 216, 222)


def draw_mug(brush: Brush, look: Look) -> Anchors:
    """Upright cup seen from a little above, handle at the right."""
    fine, body = look.fine, look.body
    half = (0.21, 0.29, 0.37)[fine.build]
    x = -0.1
    edge = x + half
    if fine.face == 1:
        brush.shape(oval(x, 0.43, half + 0.15, 0.075), AMBER)
    if fine.ears == 0:
        brush.tube(arc(edge, 0.05, 0.17, 0.19, -90, 90), look.ear_colour, 0.08)
    elif fine.ears == 1:
        brush.tube(poly((edge, -0.17), (edge + 0.17, -0.17), (edge + 0.17, 0.02), (edge, 0.02)), look.ear_colour, 0.08)
    else:
        brush.tube(poly((edge, -0.2), (edge + 0.2, -0.16), (edge, 0.32)), look.ear_colour, 0.08)
    foot = 0.09 if fine.face == 2 else 0.0
    if foot:
        brush.shape(
            poly((x - half * 0.4, 0.3), (x + half * 0.4, 0.3), (x + half * 0.8, 0.48), (x - half * 0.8, 0.48)),
            CHEEK,
        )
    low = 0.44 - foot
    side = np.concatenate((poly((x - half, -0.3), (edge, -0.3)), arc(x, low - 0.08, half * 0.94, 0.08, 0, 180)))
    brush.coat(side, body, look.pattern, look.second)
    brush.shape(oval(x, -0.3, half, 0.07), mix(body, (255, 255, 255), 0.35))
    brush.shape(oval(x, -0.295, half * 0.78, 0.042), (74, 44, 30), edge=0)
    return Anchors(
        slots=((x - half * 0.3, -0.09), (x + half * 0.45, 0.06), (x - half * 0.25, 0.27 - foot * 0.6)),
        crown=(x, -0.32, half * 0.62),
        neck=(x, -0.185, half * 0.98),
        hand=(edge + 0.16, 0.0),
        balloon=(0.38, -0.36),
    )


def draw_teapot(brush: Brush, look: Look) -> Anchors:
    """Round pot, spout at the left, handle at the right, lid with a knob."""
    fine, body = look.fine, look.body
    wide = (0.22, 0.29, 0.36)[fine.build]
    x, y = 0.0, 0.2
    left, right = x - wide, x + wide
    brush.tube(arc(right - 0.02, 0.16, 0.15, 0.17, -100, 100), body, 0.055)
    if fine.ears == 0:
        brush.shape(
            poly((left + 0.07, 0.08), (left - 0.13, -0.02), (left - 0.17, 0.08), (left + 0.05, 0.3)), look.ear_colour
        )
    elif fine.ears == 1:
        brush.tube(
            poly((left + 0.03, 0.3), (left - 0.09, 0.22), (left - 0.07, -0.1), (left - 0.14, -0.18)),
            look.ear_colour,
            0.085,
        )
    else:
        brush.shape(
            poly((left + 0.06, 0.12), (left - 0.16, -0.2), (left + 0.0, -0.2), (left + 0.16, 0.06)), look.ear_colour
        )
    brush.shape(slab(x - wide * 0.6, 0.4, x + wide * 0.6, 0.5, 0.03), mix(body, (0, 0, 0), 0.28))
    brush.coat(oval(x, y, wide, 0.26), body, look.pattern, look.second)
    lid = (AMBER, mix(body, (255, 255, 255), 0.25), CHEEK)[fine.face]
    if fine.face == 0:
        brush.shape(oval(x, -0.14, 0.05, 0.05), lid)
        brush.shape(slab(x - 0.17, -0.11, x + 0.17, -0.03, 0.03), lid)
    elif fine.face == 1:
        brush.shape(poly((x - 0.17, -0.03), (x, -0.36), (x + 0.17, -0.03)), lid)
    else:
        brush.shape(oval(x, -0.27, 0.085, 0.085), lid)
        brush.shape(np.concatenate((arc(x, -0.03, 0.2, 0.17, 180, 360), poly((x + 0.2, -0.03)))), lid)
    top = (-0.19, -0.27, -0.31)[fine.face]
    return Anchors(
        slots=((x - wide * 0.38, 0.12), (x + wide * 0.42, 0.16), (x - 0.02, 0.35)),
        crown=(x, top, 0.13),
        neck=(x, 0.01, 0.24),
        hand=(right + 0.12, 0.1),
        balloon=(0.38, -0.36),
    )


def draw_car(brush: Brush, look: Look) -> Anchors:
    """Car from the side, bonnet to the left."""
    fine, body = look.fine, look.body
    tall = (0.23, 0.31, 0.4)[fine.build]
    top, low = 0.34 - tall, 0.34
    roof = (
        np.concatenate((arc(0.07, top + 0.02, 0.28, 0.29, 180, 360), poly((0.35, top + 0.02)))),
        slab(-0.16, top - 0.29, 0.42, top + 0.02, 0.03),
        poly((-0.26, top + 0.02), (0.0, top - 0.25), (0.14, top - 0.25), (0.16, top + 0.02)),
    )[fine.ears]
    brush.shape(roof, look.ear_colour)
    panes = (
        ((-0.14, 0.03), (0.08, 0.28)),
        ((-0.12, 0.1), (0.15, 0.37)),
        ((-0.14, 0.11),),
    )[fine.ears]
    for left, right in panes:
        slope = 0.1 if fine.ears != 1 and left < 0 else 0.0
        brush.shape(
            poly((left, top - 0.03), (left + slope, top - 0.19), (right, top - 0.19), (right, top - 0.03)),
            GLASS,
            edge=0.016,
        )
    brush.coat(slab(-0.48, top, 0.48, low, 0.07), body, look.pattern, look.second)
    brush.shape(oval(-0.45, top + 0.09, 0.04, 0.05), (255, 240, 150), edge=0.016)
    radius, spots = ((0.105, (-0.28, 0.28)), (0.15, (-0.26, 0.27)), (0.105, (-0.31, 0.0, 0.31)))[fine.face]
    hub = (AMBER, METAL, CHEEK)[fine.face]
    for at in spots:
        brush.shape(oval(at, low + 0.02, radius, radius), TYRE, ink=TYRE)
        brush.shape(oval(at, low + 0.02, radius * 0.62, radius * 0.62), hub, edge=0)
    middle = top + 0.115
    crest = top - (0.27, 0.29, 0.25)[fine.ears]
    return Anchors(
        slots=((-0.3, middle), (0.02, middle), (0.33, middle)),
        crown=(0.07, crest + 0.03, 0.15),
        neck=(-0.01, top + 0.0, 0.36),
        hand=(0.44, top),
        balloon=(0.38, -0.4 + 0.02),
    )
