"""Growing a concept by the groups that a stage creates."""

import torch

from unictokens.concepts.layout import GROUPS, Group, TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import Initializer
from unictokens.data.samples import perception_prompt
from unictokens.errors import ConfigError
from unictokens.methods.base import Beginning, Setting, Stage, initial_rules
from unictokens.methods.initializers import INITIALIZERS, LOOKING, Start
from unictokens.methods.perception import PerceptionRequest, Sighting


def perception_request(setting: Setting, stage: Stage, tokens: ConceptTokens | None) -> PerceptionRequest | None:
    """The pictures that a rule of this stage looks at, None where none does.

    Raises ConfigError in a first stage, which has no rows to draw with.
    """
    layout = setting.config.layout
    rules = initial_rules(stage.config, setting.record.is_person)
    if not any(rules[group] in LOOKING for group in _created(layout, stage, rules, tokens)):
        return None
    if tokens is None:
        raise ConfigError(
            f"stage '{stage.name}' starts rows from drawn pictures but has no rows to draw with: "
            "use such a rule in a later stage"
        )
    prompt = perception_prompt(setting.record, layout, setting.config.stages.bootstrap.subject)
    seeds = tuple(setting.draws.perception_seed(image) for image in range(setting.config.perception.images))
    return PerceptionRequest(tokens, prompt, setting.config.perception, seeds)


def grow(
    setting: Setting, stage: Stage, tokens: ConceptTokens | None, sightings: tuple[Sighting, ...] = ()
) -> Beginning:
    """Rows of the stage before and, after them, the groups that this stage creates.

    Raises ConfigError when the groups do not continue the layout's order or the stage trains rows that do not exist.
    """
    layout = setting.config.layout
    rules = initial_rules(stage.config, setting.record.is_person)
    start = Start(setting, stage, sightings)
    grown = tokens
    for group in _created(layout, stage, rules, tokens):
        rows = layout.rows(group)
        embed_KD = INITIALIZERS[rules[group]](start, rows)
        head_KD, bias_K = setting.backbone.head_rows(torch.tensor(rows))
        grown = (
            ConceptTokens(layout, embed_KD, head_KD, bias_K)
            if grown is None
            else grown.append(embed_KD, head_KD, bias_K)
        )
    if grown is None:
        raise ConfigError(f"stage '{stage.name}' is the first and creates no rows: set stages.{stage.name}.initial")
    absent = [row for row in layout.rows(*stage.config.trains) if row >= grown.rows]
    if absent:
        raise ConfigError(
            f"stage '{stage.name}' trains {', '.join(stage.config.trains)} but only {grown.rows} of {layout.total} rows "
            f"exist: create the missing groups in stages.{stage.name}.initial"
        )
    return Beginning(grown.detach(), sightings)


def _created(
    layout: TokenLayout, stage: Stage, rules: dict[Group, Initializer], tokens: ConceptTokens | None
) -> tuple[Group, ...]:
    """The groups to create, in layout order; groups of no rows are left out."""
    created: tuple[Group, ...] = tuple(group for group in GROUPS if group in rules and layout.count(group))
    rows = tokens.rows if tokens is not None else 0
    if layout.rows(*created) != tuple(range(rows, rows + len(layout.rows(*created)))):
        raise ConfigError(
            f"stage '{stage.name}' creates {', '.join(created)} on top of {rows} rows: groups must follow the order "
            f"{', '.join(GROUPS)} without gaps"
        )
    return created
