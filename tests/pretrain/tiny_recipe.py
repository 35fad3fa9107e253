"""A recipe of the smallest size, and the lessons of the base that it makes."""

from pathlib import Path

import numpy as np

from unictokens.backbones.showo.image_tokenizer import MagvitConfig
from unictokens.backbones.showo.weights import load
from unictokens.pretrain.codes import codes_kind
from unictokens.pretrain.lessons import Lessons
from unictokens.pretrain.pool import shard_path
from unictokens.pretrain.recipe import LanguageRecipe, ProbeRecipe, Recipe, TokenizerRecipe

MAGVIT = MagvitConfig(
    base=8,
    bits=4,
    groups=4,
    encoder_multipliers=(1, 1, 2),
    encoder_blocks=(0, 1, 1),
    decoder_multipliers=(1, 1, 2),
    decoder_blocks=(1, 1, 1),
)


TINY = Recipe(
    image_size=16,
    shard=8,
    held_out=2,
    drawn=2,
    probe=ProbeRecipe(concepts=1, renders=12, held_out=4, steps=4, batch=4, width=8),
    tokenizer=TokenizerRecipe(compiled=False, magvit=MAGVIT, shards=1, batch=4, steps=2, warmup_steps=1, soft_steps=1),
    language=LanguageRecipe(
        compiled=False, width=32, layers=1, heads=2, intermediate=64, text_vocabulary=300, shards=1, companion_shards=1, resident_shards=1,
        batch_generation=2, batch_understanding=2, text_room=60, steps=2, warmup_steps=1, attributes_layer=1, gathered_layer=1,
    ),
)  # fmt: skip


def lessons_of(base: Path) -> Lessons:
    """Lessons over the codes that the recipe left beside a base."""
    backbone = load(str(base))
    kind = codes_kind(backbone.magvit)
    codes = [np.load(shard_path(base.parent, pool, kind, 0)) for pool in ("strangers", "companions", "residents")]
    return Lessons(backbone.sequences, TINY.language, *codes, backbone.black_codes_N)
