"""UniCTokens, the paper's method: warm up on understanding, bootstrap drawing, deepen understanding by perception."""

from dataclasses import dataclass

from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import RunConfig
from unictokens.data.epochs import Epoch
from unictokens.methods.base import Beginning, Setting, Stage, check_stages
from unictokens.methods.growth import grow, perception_request
from unictokens.methods.lessons import stage_epoch
from unictokens.methods.perception import PerceptionRequest, Sighting


@dataclass(frozen=True)
class UniCTokens:
    """Three stages (paper section 3); `perception` happens where a stage starts rows by a rule that looks at drawings."""

    def stages(self, config: RunConfig) -> tuple[Stage, ...]:
        stages = config.stages
        return check_stages(
            (Stage("warmup", stages.warmup), Stage("bootstrap", stages.bootstrap), Stage("deepen", stages.deepen))
        )

    def look(self, setting: Setting, stage: Stage, tokens: ConceptTokens | None) -> PerceptionRequest | None:
        return perception_request(setting, stage, tokens)

    def begin(
        self, setting: Setting, stage: Stage, tokens: ConceptTokens | None, sightings: tuple[Sighting, ...]
    ) -> Beginning:
        return grow(setting, stage, tokens, sightings)

    def epoch(self, setting: Setting, stage: Stage) -> Epoch:
        return stage_epoch(setting, stage)
