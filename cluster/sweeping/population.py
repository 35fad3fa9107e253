"""Population based training at the ends of stages: a poor trial is given up, and a child of a good one begins where that one stood.

The child has its parent's settings for the stages behind it and changed ones for those to come, so that it is the run that its own
configuration describes from the first step on: `best.json` gives the same rows again. That is why only settings of a stage can be
searched this way (a learning rate of its own for each): a token count is part of the run from its first stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from random import Random

from cluster.sweeping.trial import Trial
from tune_spaces.domain import FloatRange
from tune_spaces.space import Sample, Space
from unictokens.config import StagesConfig
from unictokens.errors import ConfigError

LEAST = 4
"""Values at a stage's end before the first trial is given up."""
QUANTILE = 0.25
"""Share of trials that is poor, and that is good."""
ANEW = 0.25
"""How often a changed setting is drawn anew; else it goes up or down by `STEP`."""
STEP = 1.25


@dataclass
class Population:
    """Values at the ends of stages; the smaller, the better. `ends` are epochs over all stages, that of the last left out."""

    space: Space
    seed: int
    ends: tuple[int, ...]
    _known: dict[int, dict[int, tuple[Sample, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path, domain in self.space.domains.items():
            parts = path.split(".")
            if parts[0] != "stages" or len(parts) < 3 or parts[1] == "*" or not isinstance(domain, FloatRange):
                raise ConfigError(
                    f"--scheduler pbt cannot search {path}: it changes numbers of the stages to come, such as "
                    "stages.deepen.optim.lr; what a run is made of stays as it began. Use --scheduler asha"
                )

    def stage_end(self, epochs: int) -> int | None:
        """The number of the stage, counted from 0, that ends with so many epochs over all; None within one and at the last's end."""
        return self.ends.index(epochs) if epochs in self.ends else None

    def note(self, number: int, sample: Sample, stage: int, value: float) -> None:
        """A trial's value at a stage's end."""
        self._known.setdefault(stage, {})[number] = (sample, value)

    def judge(self, number: int, stage: int, child: int) -> Trial | None:
        """A child of a good trial if a noted one is among the poor, None if it may go on.

        child  the number that a child would have
        """
        known = self._known[stage]
        if len(known) < LEAST:
            return None
        order = sorted(known, key=lambda each: (known[each][1], each))
        share = max(1, int(len(order) * QUANTILE))
        if number not in order[-share:] or number in order[:share]:
            return None
        random = Random(f"{self.seed}/{child}")
        parent = order[random.randrange(share)]
        return Trial(number=child, sample=self._changed(known[parent][0], stage, random), parent=parent)

    def _changed(self, sample: Mapping[str, float], stage: int, random: Random) -> Sample:
        stages = [each.name for each in fields(StagesConfig)]
        changed: Sample = dict(sample)
        for path, domain in self.space.domains.items():
            if stages.index(path.split(".")[1]) <= stage or not isinstance(domain, FloatRange):
                continue
            if random.random() < ANEW:
                changed[path] = domain.sample(random)
            else:
                changed[path] = domain.rounded(sample[path] * random.choice((STEP, 1 / STEP)))
        return changed
