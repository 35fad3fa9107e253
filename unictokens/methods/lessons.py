"""The samples of a stage's epochs, from the concept's data by the stage's settings."""

from unictokens.data.epochs import Epoch, draw_choices, materialise, stage_sources
from unictokens.methods.base import Setting, Stage


def stage_epoch(setting: Setting, stage: Stage) -> Epoch:
    """The epoch that a stage repeats; order, flips and crops are drawn, or replayed where a recording has them.

    Raises DataError when the dataset lacks what the stage asks for.
    """
    sources = stage_sources(setting.record, stage.config, setting.config.layout)
    size = setting.backbone.info.image_size
    choices = setting.draws.choices(stage.name)
    if choices is None:
        choices = draw_choices(sources, stage.config, size, setting.draws.generator("epoch", stage.name))
    return materialise(sources, stage.config, size, choices, setting.codes)
