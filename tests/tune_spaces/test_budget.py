"""The room for text: what the budget counts is what the backbone lays out, and too many tokens are refused by name."""

from pathlib import Path

import pytest

from tune_spaces.budget import TextBudget
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.layout import TokenLayout
from unictokens.config import PRESETS, RunConfig, override
from unictokens.data.catalog import Catalog
from unictokens.data.samples import drawing_prompt
from unictokens.errors import ConfigError

DEMO = PRESETS["demo"]


@pytest.fixture(scope="module")
def budget(toyland: Path, tiny_base: Path) -> TextBudget:
    return TextBudget(str(tiny_base), Catalog.open(toyland), ("bo", "miru"))


def fits(budget: TextBudget, config: RunConfig) -> bool:
    try:
        budget.check(config)
    except ConfigError:
        return False
    return True


def test_the_largest_count_that_fits_is_the_one_that_the_backbone_does_not_cut(
    budget: TextBudget, toyland: Path, tiny_backbone: ShowO
) -> None:
    small = {"layout.generation": 0, "layout.understanding": 0}
    small |= {f"stages.{stage}.introduction": [] for stage in ("warmup", "bootstrap", "deepen")}  # drawings alone
    most = max(count for count in range(97) if fits(budget, override(DEMO, {**small, "layout.shared": count})))
    assert 0 < most < 96
    catalog, eot, cut = Catalog.open(toyland), tiny_backbone.vocabulary.eot, []
    for count in (most, most + 1):
        layout = TokenLayout(shared=count, generation=0, understanding=0)
        for name in ("bo", "miru"):
            record = catalog.concept(name)
            texts = (*catalog.evaluation_prompts(record.kind), *record.knowledge_conditions())
            for text in texts:
                ids = tiny_backbone.sequences.text(drawing_prompt(record, layout, ("shared",), text))
                cut.append((count, tiny_backbone.sequences.drawing_text(ids)[-len(ids) - 1 :] != [*ids, eot]))
    assert (most, True) not in cut and (most + 1, True) in cut


def test_the_setting_that_is_too_large_is_named_with_what_fits(budget: TextBudget) -> None:
    config = override(DEMO, {"layout.shared": 40, "layout.generation": 60})
    with pytest.raises(
        ConfigError, match=r"layout.generation=60 is too large.*drawing.*at most \d+ fit beside layout.shared=40"
    ):
        budget.check(config)
    with pytest.raises(ConfigError, match=r"layout.shared=40 is too large"):
        budget.check(config, searched=("layout.shared",))
    with pytest.raises(ConfigError, match=r"layout.understanding=90 is too large: in stage deepen the question"):
        budget.check(override(DEMO, {"layout.shared": 1, "layout.generation": 1, "layout.understanding": 90}))
