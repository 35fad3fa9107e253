"""Man and woman: portraits from the chest up. `colour` is hair, `second` and `pattern` are the shirt."""

import numpy as np

from unictokens.data.toyland.brush import Brush, arc, ink_for, mix, oval, poly, slab
from unictokens.data.toyland.look import Anchors, Look
from unictokens.data.toyland.pets import draw_eyes

WIDTH = (0.155, 0.22, 0.3)
HEAD_Y = -0.1


def draw_man(brush: Brush, look: Look) -> Anchors:
    """Broad shoulders, square jaw with stubble, thick brows, hair on top only."""
    fine, skin, hair = look.fine, look.skin, look.body
    wide = WIDTH[fine.build]
    _torso(brush, look, shoulder=0.44)
    if fine.ears == 2:
        for x, y in ((-wide, -0.3), (wide, -0.3), (-wide - 0.05, -0.17), (wide + 0.05, -0.17)):
            brush.shape(oval(x, y, 0.1, 0.1), hair)
    for side in (-1, 1):
        brush.shape(oval(side * wide, HEAD_Y + 0.02, 0.05, 0.06), skin)
    brush.shape(slab(-wide, -0.37, wide, 0.18, 0.1), skin)
    stubble = np.concatenate((arc(0, 0.02, wide * 0.93, 0.15, 0, 180), poly((-wide * 0.93, 0.0), (0.0, 0.06))))
    brush.shape(stubble, mix(skin, (40, 32, 30), 0.34), edge=0)
    for side in (-1, 1):  # a hat hides the top, never these
        brush.shape(slab(side * wide - 0.055, -0.34, side * wide + 0.055, -0.02, 0.03), hair)
    if fine.ears == 0:
        brush.shape(slab(-wide - 0.03, -0.45, wide + 0.03, -0.315, 0.05), hair)
    elif fine.ears == 1:
        spikes = [(-wide - 0.02, -0.29)]
        for index in range(4):
            left = -wide - 0.02 + index * (wide + 0.02) / 2
            spikes += [(left + (wide + 0.02) / 4, -0.54), (left + (wide + 0.02) / 2, -0.36)]
        spikes[-1] = (wide + 0.02, -0.29)
        brush.shape(poly(*spikes), hair)
    else:
        for x in (-wide * 0.75, wide * 0.75, 0.0):
            brush.shape(oval(x, -0.4, 0.13, 0.095), hair)
    ink = ink_for(skin)
    for side in (-1, 1):
        brush.line(poly((side * wide * 0.2, -0.165), (side * wide * 0.75, -0.18)), ink, 0.03)
    _face(brush, look, wide, lips=False)
    return _anchors(wide)


def draw_woman(brush: Brush, look: Look) -> Anchors:
    """Narrow shoulders, oval face, red lips and lashes, hair that falls on both sides."""
    fine, skin, hair = look.fine, look.skin, look.body
    wide = WIDTH[fine.build]
    if fine.ears == 0:
        brush.shape(slab(-wide - 0.1, -0.42, wide + 0.1, 0.45, 0.14), hair)
    elif fine.ears == 1:
        for side in (-1, 1):
            brush.shape(oval(side * (wide + 0.06), 0.03, 0.13, 0.12), hair)
        brush.shape(slab(-wide - 0.07, -0.42, wide + 0.07, 0.06, 0.14), hair)
    else:
        for side in (-1, 1):
            brush.shape(oval(side * (wide + 0.11), -0.27, 0.13, 0.13), hair)
            brush.shape(oval(side * (wide + 0.03), -0.05, 0.05, 0.12), hair)
        brush.shape(oval(0, -0.2, wide + 0.05, 0.22), hair)
    _torso(brush, look, shoulder=0.35)
    brush.shape(oval(0, HEAD_Y, wide, 0.27), skin)
    fringe = np.concatenate(
        (arc(0, -0.22, wide + 0.03, 0.22, 180, 360), poly((wide * 0.8, -0.26), (0.0, -0.35), (-wide * 0.8, -0.26)))
    )
    brush.shape(fringe, hair)
    for side in (-1, 1):
        brush.line(poly((side * wide * 0.62, -0.12), (side * wide * 0.9, -0.165)), ink_for(skin), 0.022)
    _face(brush, look, wide, lips=True)
    return _anchors(wide)


def _torso(brush: Brush, look: Look, shoulder: float) -> None:
    shape = np.concatenate(
        (
            poly((-shoulder, 0.72), (-shoulder, 0.36)),
            arc(-shoulder + 0.15, 0.36, 0.15, 0.13, 180, 270),
            arc(shoulder - 0.15, 0.36, 0.15, 0.13, 270, 360),
            poly((shoulder, 0.72)),
        )
    )
    brush.coat(shape, look.second, look.pattern, look.shirt_tint)
    brush.shape(slab(-0.085, 0.08, 0.085, 0.27, 0.05), mix(look.skin, (60, 30, 20), 0.2), edge=0.016)


def _face(brush: Brush, look: Look, wide: float, lips: bool) -> None:
    face, ink = look.fine.face, ink_for(look.skin)
    draw_eyes(brush, 0.0, -0.085, wide * 0.47, face, look.skin)
    brush.line(poly((0.0, -0.06), (-0.03, 0.0), (0.005, 0.005)), ink, 0.018)
    if face == 1:
        brush.shape(oval(-0.03, 0.085, 0.055, 0.05), (196, 30, 48) if lips else (90, 24, 30), edge=0.014)
    elif lips:
        brush.shape(oval(-0.03, 0.08, 0.07 if face == 2 else 0.05, 0.028), (214, 32, 52), edge=0)
    else:
        brush.line(arc(-0.03, 0.055, 0.08 if face == 2 else 0.055, 0.035, 10, 170), ink, 0.026)


def _anchors(wide: float) -> Anchors:
    return Anchors(
        slots=((0.0, -0.29), (wide * 0.72, 0.075), (0.0, 0.36)),
        crown=(0.0, -0.35, wide + 0.02),
        neck=(0.0, 0.22, 0.17),
        hand=(0.4, 0.45),
        balloon=(0.42, -0.3),
    )
