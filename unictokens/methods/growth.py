"""Growing a concept by the groups that a stage creates."""

import torch

from unictokens.concepts.layout import GROUPS, Group, TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import Initializer
from unictokens.errors import ConfigError
from unictokens.methods.base import Beginning, Setting, Stage, initial_rules
from unictokens.methods.initializers import INITIALIZERS, Start


def grow(setting: Setting, stage: Stage, tokens: ConceptTokens | None) -> Beginning:
    """Rows of the stage before and, after them, the groups that this stage creates.

    Raises ConfigError when the groups do not continue the layout's order or the stage trains rows that do not exist.
    """
    layout = setting.config.layout
    rules = initial_rules(stage.config, setting.record.is_person)
    start = Start(setting, stage, tokens)
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
    return Beginning(grown.detach(), start.sightings if "sightings" in vars(start) else ())


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
