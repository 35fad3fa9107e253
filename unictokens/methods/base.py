"""What a method decides about a run: its stages, the rows a stage starts from, and the samples of an epoch.

To add a method, write a class with these members (`textual_inversion` is the smallest example) and name it in `METHODS`.
"""

from dataclasses import dataclass
from typing import Protocol

from unictokens.backbones.base import Backbone
from unictokens.concepts.layout import Group
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import Initializer, RunConfig, StageConfig
from unictokens.data.epochs import CodeCache, Epoch
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError
from unictokens.methods.draws import Draws
from unictokens.methods.perception import PerceptionRequest, Sighting


@dataclass(frozen=True)
class Stage:
    """A stage of a run: its name in the config tree and its values."""

    name: str
    config: StageConfig


@dataclass(frozen=True)
class Setting:
    """What a run is about: the frozen model, the concept's data, the settings and the random numbers.

    codes  codes of pictures by this backbone, shared with its other runs
    """

    backbone: Backbone
    record: ConceptRecord
    config: RunConfig
    draws: Draws
    codes: CodeCache


@dataclass(frozen=True)
class Beginning:
    """Rows at the start of a stage, and the pictures that were drawn to find them (none if no rule looked at any)."""

    tokens: ConceptTokens
    sightings: tuple[Sighting, ...] = ()


class Method(Protocol):
    """A way to learn a concept."""

    def stages(self, config: RunConfig) -> tuple[Stage, ...]:
        """The stages in order; raises ConfigError for settings that this method cannot follow."""
        ...

    def look(self, setting: Setting, stage: Stage, tokens: ConceptTokens | None) -> PerceptionRequest | None:
        """The pictures that `begin` needs to have been drawn, None for a stage that starts without any.

        Asked first, so that the pictures of many runs can be drawn together.
        """
        ...

    def begin(
        self, setting: Setting, stage: Stage, tokens: ConceptTokens | None, sightings: tuple[Sighting, ...]
    ) -> Beginning:
        """Rows at the start of `stage`: those of the stage before (None before the first) and the new groups."""
        ...

    def epoch(self, setting: Setting, stage: Stage) -> Epoch:
        """The steps of one epoch of `stage`; every epoch of a stage has the same samples (published behaviour)."""
        ...


METHODS: dict[str, str] = {
    "unictokens": "unictokens.methods.unictokens:UniCTokens",
    "textual_inversion": "unictokens.methods.textual_inversion:TextualInversion",
}
"""Name to `module:class`; see `unictokens.lookup.resolve`."""


def initial_rules(stage: StageConfig, is_person: bool) -> dict[Group, Initializer]:
    """How the new groups of a stage begin for this kind of concept."""
    return {**stage.initial, **(stage.initial_person if is_person else {})}


def check_stages(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages themselves; raises ConfigError when one continues from an epoch that the one before does not have."""
    for before, stage in zip((None, *stages), stages, strict=False):
        start = stage.config.start_epoch
        if start is not None and before is not None and start > before.config.epochs:
            raise ConfigError(
                f"setting 'stages.{stage.name}.start_epoch' is {start} but '{before.name}' has {before.config.epochs} "
                f"epochs: lower it, or set it to null for the last epoch"
            )
        if not stage.config.trains:
            raise ConfigError(f"setting 'stages.{stage.name}.trains' is empty: name at least one group of rows")
        if stage.config.understanding is None and stage.config.generation is None:
            raise ConfigError(f"stage '{stage.name}' has neither understanding nor generation data: give it one")
    return stages
