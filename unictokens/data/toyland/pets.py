"""Dog, cat and rabbit: three silhouettes that stay apart at 64 pixels."""

import numpy as np

from unictokens.data.toyland.brush import INK, RGB, Brush, arc, ink_for, mix, oval, poly, slab
from unictokens.data.toyland.look import AMBER, CHEEK, Anchors, Look

WHITE: RGB = (252, 252, 252)
GIRTH = (0.62, 1.0, 1.4)


def draw_eyes(brush: Brush, x: float, y: float, spread: float, face: int, head: RGB) -> None:
    """Eye geometry: 0 pupils on amber, 1 huge round eyes, 2 closed arcs over red cheeks, on both sides of `x`."""
    ink = ink_for(head)
    for side in (-1, 1):
        at = x + side * spread
        if face == 0:
            brush.shape(oval(at, y, 0.066, 0.074), AMBER, edge=0.018)
            brush.shape(oval(at, y, 0.024, 0.056), INK, edge=0)
        elif face == 1:
            brush.shape(oval(at, y, 0.08, 0.088), WHITE, edge=0.018)
            brush.shape(oval(at + 0.012, y + 0.012, 0.042, 0.05), INK, edge=0)
        else:
            brush.line(arc(at, y + 0.02, 0.066, 0.06, 180, 360), ink, 0.04)
            brush.shape(oval(at + side * 0.02, y + 0.1, 0.05, 0.042), CHEEK, edge=0)


def draw_dog(brush: Brush, look: Look) -> Anchors:
    """Standing dog, head to the left, muzzle and drooping ears, four legs."""
    fine, body = look.fine, look.body
    dark, girth = mix(body, (0, 0, 0), 0.28), GIRTH[fine.build]
    brush.tube(poly((0.36, 0.06), (0.45, -0.04), (0.47, -0.17)), body, 0.06)
    for left in (0.0, 0.31):
        brush.shape(slab(left - 0.03, 0.2, left + 0.07, 0.47, 0.03), dark)
    for left in (-0.12, 0.22):
        brush.shape(slab(left - 0.03, 0.2, left + 0.09, 0.5, 0.03), body)
    brush.coat(oval(0.13, 0.14, 0.33, 0.205 * girth), body, look.pattern, look.second)
    brush.shape(oval(-0.19, -0.15, 0.235, 0.225), body)
    ears = {
        0: (oval(-0.4, -0.2, 0.065, 0.11, 12), oval(0.02, -0.2, 0.065, 0.11, -12)),
        1: (oval(-0.41, -0.07, 0.075, 0.225, 8), oval(0.03, -0.07, 0.075, 0.225, -8)),
        2: (
            oval(-0.45, -0.27, 0.15, 0.065, 24),
            oval(0.07, -0.27, 0.15, 0.065, -24),
        ),
    }[fine.ears]
    for ear in ears:
        brush.shape(ear, look.ear_colour)
    brush.shape(oval(-0.19, -0.005, 0.13, 0.085), mix(body, WHITE, 0.6), edge=0.016)
    brush.shape(oval(-0.19, -0.04, 0.052, 0.036), INK, edge=0)
    draw_eyes(brush, -0.19, -0.125, 0.095, fine.face, body)
    if fine.face == 2:
        brush.shape(oval(-0.19, 0.06, 0.045, 0.06), (232, 84, 100), edge=0.014)
    return Anchors(
        slots=((-0.19, -0.305), (0.0, 0.16), (0.29, 0.12)),
        crown=(-0.19, -0.35, 0.19),
        neck=(-0.14, 0.075, 0.18),
        hand=(0.46, -0.16),
        balloon=(0.36, -0.36),
    )


def draw_cat(brush: Brush, look: Look) -> Anchors:
    """Sitting cat, pointed ears, whiskers, long tail curled up at the right."""
    fine, body = look.fine, look.body
    girth = GIRTH[fine.build]
    wide = 0.26 * girth
    tail = np.concatenate((arc(0.2, 0.3, 0.2, 0.14, 90, 0), arc(0.33, 0.1, 0.07, 0.2, 0, -120)))
    brush.tube(tail, body, 0.07)
    brush.coat(oval(-0.04, 0.26, wide, 0.25), body, look.pattern, look.second)
    for x in (-0.13, 0.05):
        brush.shape(oval(x, 0.475, 0.075, 0.04), mix(body, WHITE, 0.45), edge=0.016)
    reach = (0.0, 0.1, -0.02)[fine.ears]
    lean = (0.0, 0.0, 0.13)[fine.ears]
    for side in (-1, 1):
        outer, inner = -0.04 + side * 0.25, -0.04 + side * 0.05
        tip = (-0.04 + side * (0.19 + lean), -0.4 - reach + (0.08 if fine.ears == 2 else 0.0))
        brush.shape(poly((outer, -0.14), tip, (inner, -0.29)), look.ear_colour)
        middle = (outer + inner + tip[0]) / 3, (-0.14 + tip[1] - 0.29) / 3
        shrunk = [
            (middle[0] + (x - middle[0]) * 0.5, middle[1] + (y - middle[1]) * 0.5)
            for x, y in ((outer, -0.14), tip, (inner, -0.29))
        ]
        brush.shape(poly(*shrunk), (250, 170, 180), edge=0)
    brush.shape(oval(-0.04, -0.13, 0.265, 0.215), body)
    brush.shape(poly((-0.08, -0.035), (0.0, -0.035), (-0.04, 0.01)), (240, 110, 130), edge=0.01)
    ink = ink_for(body)
    for side in (-1, 1):
        brush.line(arc(-0.04 + side * 0.035, 0.015, 0.035, 0.03, 0, 180), ink, 0.018)
        for drop in (-0.03, 0.025):
            brush.line(poly((-0.04 + side * 0.15, -0.01 + drop * 0.4), (-0.04 + side * 0.33, drop)), ink, 0.014)
    draw_eyes(brush, -0.04, -0.1, 0.125, fine.face, body)
    return Anchors(
        slots=((-0.04, -0.285), (-0.1, 0.18), (0.04, 0.36)),
        crown=(-0.04, -0.31, 0.17),
        neck=(-0.04, 0.075, 0.2),
        hand=(0.3, 0.0),
        balloon=(0.38, -0.3),
    )


def draw_rabbit(brush: Brush, look: Look) -> Anchors:
    """Sitting rabbit, egg body with a tail puff, two upright ears, front teeth."""
    fine, body = look.fine, look.body
    girth = GIRTH[fine.build]
    pale = mix(body, WHITE, 0.45)
    brush.shape(oval(0.09 + 0.3 * girth, 0.34, 0.09, 0.09), WHITE)
    brush.coat(oval(0.08, 0.24, 0.3 * girth, 0.245), body, look.pattern, look.second)
    for x in (-0.12, 0.12):
        brush.shape(oval(x, 0.465, 0.12, 0.042), pale, edge=0.016)
    for side in (-1, 1):
        if fine.ears == 0:
            ear, lining = oval(-0.08 + side * 0.085, -0.32, 0.06, 0.19), oval(-0.08 + side * 0.085, -0.32, 0.026, 0.14)
        elif fine.ears == 1:
            tilt = side * 38
            ear = oval(-0.08 + side * 0.23, -0.28, 0.06, 0.2, tilt)
            lining = oval(-0.08 + side * 0.23, -0.28, 0.026, 0.15, tilt)
        else:
            middle, tilt = (-0.17, 0) if side < 0 else (0.16, 75)
            height = -0.32 if side < 0 else -0.13
            ear, lining = oval(middle, height, 0.06, 0.19, tilt), oval(middle, height, 0.026, 0.14, tilt)
        brush.shape(ear, look.ear_colour)
        brush.shape(lining, (250, 170, 185), edge=0)
    brush.shape(oval(-0.08, -0.07, 0.225, 0.19), body)
    brush.shape(oval(-0.08, 0.02, 0.085, 0.05), pale, edge=0)
    brush.shape(slab(-0.115, 0.045, -0.045, 0.105), WHITE, edge=0.012)
    brush.shape(oval(-0.08, 0.005, 0.03, 0.022), (240, 110, 130), edge=0)
    draw_eyes(brush, -0.08, -0.045, 0.115, fine.face, body)
    return Anchors(
        slots=((-0.08, -0.215), (-0.07, 0.24), (0.23, 0.22)),
        crown=(-0.08, -0.235, 0.16),
        neck=(-0.06, 0.1, 0.19),
        hand=(0.3, 0.1),
        balloon=(0.36, -0.3),
    )
