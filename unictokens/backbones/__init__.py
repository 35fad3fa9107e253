"""Frozen unified models behind one protocol (`base`)."""

from typing import Any

from unictokens.backbones.precision import DTYPES, set_products
from unictokens.config import Precision
from unictokens.lookup import resolve

BACKBONES = {"showo": "unictokens.backbones.showo.weights:load"}
"""Kinds of backbone and what loads them: (source, device, answer_start, dtype) -> Backbone."""


def load_backbone(
    source: str, device: str = "cpu", answer_start: bool = True, precision: Precision = "fp32", kind: str = "showo"
) -> Any:
    """A frozen backbone from "mini", a folder, or a hub name ("showlab/show-o-512x512").

    `precision` also says how this process multiplies from now on (`precision.set_products`).
    Raises CheckpointError for weights that do not fit, ConfigError for an unknown kind, DependencyError for a missing library.
    """
    load = resolve(BACKBONES, kind, "backbone")
    set_products(precision)
    return load(source, device=device, answer_start=answer_start, dtype=DTYPES[precision])
