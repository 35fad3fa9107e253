"""Frozen unified models behind one protocol (`base`)."""

from typing import Any

from unictokens.lookup import resolve

BACKBONES = {"showo": "unictokens.backbones.showo.weights:load"}
"""Kinds of backbone and what loads them: (source, device, answer_start) -> Backbone."""


def load_backbone(source: str, device: str = "cpu", answer_start: bool = True, kind: str = "showo") -> Any:
    """A frozen backbone from "mini", a folder, or a hub name ("showlab/show-o-512x512").

    Raises CheckpointError for weights that do not fit, ConfigError for an unknown kind, DependencyError for a missing library.
    """
    return resolve(BACKBONES, kind, "backbone")(source, device=device, answer_start=answer_start)
