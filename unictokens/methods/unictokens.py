"""UniCTokens, the paper's method: warm up on understanding, bootstrap drawing, deepen understanding by perception."""

from dataclasses import dataclass

from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import RunConfig
from unictokens.data.epochs import Epoch
from unictokens.methods.base import Beginning, Setting, Stage, check_stages
from unictokens.methods.growth import grow
from unictokens.methods.lessons import stage_epoch


@dataclass(frozen=True)
class UniCTokens:
    """Three stages (paper section 3); `perception` happens where a stage starts rows by a rule that looks at drawings."""

    def stages(self, config: RunConfig) -> tuple[Stage, ...]:
        stages = config.stages
        return check_stages(
            (Stage("warmup", stages.warmup), Stage("bootstrap", stages.bootstrap), Stage("deepen", stages.deepen))
        )

    def begin(self, setting: Setting, stage: Stage, tokens: ConceptTokens | None) -> Beginning:
        return grow(setting, stage, tokens)

    def epoch(self, setting: Setting, stage: Stage) -> Epoch:
        return stage_epoch(setting, stage)
