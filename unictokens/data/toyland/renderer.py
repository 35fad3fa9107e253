"""Photo records to pictures: the same record and size always give the same bytes."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from unictokens.data.toyland.brush import Brush, pose_matrix
from unictokens.data.toyland.look import Anchors, Look, look_of
from unictokens.data.toyland.markings import draw_accessory, draw_marking
from unictokens.data.toyland.objects import draw_car, draw_mug, draw_teapot
from unictokens.data.toyland.persons import draw_man, draw_woman
from unictokens.data.toyland.pets import draw_cat, draw_dog, draw_rabbit
from unictokens.data.toyland.scenes import draw_scene
from unictokens.data.toyland.world import Photo
from unictokens.errors import ConfigError

FIGURES: dict[str, Callable[[Brush, Look], Anchors]] = {
    "man": draw_man,
    "woman": draw_woman,
    "dog": draw_dog,
    "cat": draw_cat,
    "rabbit": draw_rabbit,
    "mug": draw_mug,
    "teapot": draw_teapot,
    "car": draw_car,
}
OVERSAMPLE = 4
SIZES = (16, 1024)


def render(photo: Photo, size: int = 64) -> Image.Image:
    """Draw a photo as a square RGB picture of `size` pixels.

    Drawn at four times the size and averaged down. Raises ConfigError for a size outside 16..1024.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise ConfigError(f"cannot draw a picture of {size} pixels: choose a size from {SIZES[0]} to {SIZES[1]}")
    large = size * OVERSAMPLE
    image = Image.new("RGB", (large, large))
    rng = np.random.default_rng(photo.seed)
    look = look_of(photo, rng)
    draw_scene(image, photo.place, rng)
    pose = photo.pose
    brush = Brush(image, pose_matrix(pose.x, pose.y, pose.scale, pose.flip, pose.rotation, large))
    anchors = FIGURES[photo.subject.cls](brush, look)
    draw_accessory(brush, photo.accessory, look, anchors)
    draw_marking(brush, look, anchors)
    small = image.resize((size, size), Image.Resampling.BOX)
    levels = [min(255, round(value * photo.light)) for value in range(256)]
    return small.point(levels * 3)


def subject_box(photo: Photo) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the figure in unit coordinates, clipped to the picture (for crops)."""
    pose = photo.pose
    matrix = pose_matrix(pose.x, pose.y, pose.scale, pose.flip, pose.rotation, 1)
    corners = np.array(((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))) @ matrix[:, :2].T + matrix[:, 2]
    (left, top), (right, bottom) = (
        np.clip(corners.min(axis=0), 0, 1).tolist(),
        np.clip(corners.max(axis=0), 0, 1).tolist(),
    )
    return left, top, right, bottom
