"""Textual inversion (arXiv 2208.01618) on a unified model: new rows, one stage, no warm-up and no perception.

The smallest method, and the template for others: decide the stages, how rows begin, and which samples an epoch has.
"""

from dataclasses import dataclass, replace

from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import RunConfig
from unictokens.data.epochs import Epoch
from unictokens.methods.base import Beginning, Setting, Stage, check_stages
from unictokens.methods.growth import grow, perception_request
from unictokens.methods.lessons import stage_epoch
from unictokens.methods.perception import PerceptionRequest, Sighting


@dataclass(frozen=True)
class TextualInversion:
    """The bootstrap stage alone; groups that warm-up would have created begin here by warm-up's rules."""

    def stages(self, config: RunConfig) -> tuple[Stage, ...]:
        warmup, bootstrap = config.stages.warmup, config.stages.bootstrap
        only = replace(
            bootstrap,
            initial={**warmup.initial, **bootstrap.initial},
            initial_person={**warmup.initial_person, **bootstrap.initial_person},
            start_epoch=None,
        )
        return check_stages((Stage("bootstrap", only),))

    def look(self, setting: Setting, stage: Stage, tokens: ConceptTokens | None) -> PerceptionRequest | None:
        return perception_request(setting, stage, tokens)

    def begin(
        self, setting: Setting, stage: Stage, tokens: ConceptTokens | None, sightings: tuple[Sighting, ...]
    ) -> Beginning:
        return grow(setting, stage, tokens, sightings)

    def epoch(self, setting: Setting, stage: Stage) -> Epoch:
        return stage_epoch(setting, stage)
