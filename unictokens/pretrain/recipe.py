"""Every number of the recipe, as one frozen record; the shipped base was made with the defaults."""

from dataclasses import dataclass, field

from unictokens.backbones.showo.image_tokenizer import MagvitConfig


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe:
    """Training of the image tokenizer on drawn photos.

    compiled       whether torch.compile makes the step about three times faster (and its start a minute slower)
    shards         shards of the photo pool that are used
    soft_steps     steps until every bit the decoder sees is a sign; before, a growing share of them is
    entropy        weight of the look-up-free quantiser's entropy term: bits sure of themselves, used equally often
    commitment     weight of the squared distance between encoder outputs and their signs
    edges          weight of the error of horizontal and vertical differences, which keeps outlines sharp
    """

    compiled: bool = True
    magvit: MagvitConfig = MagvitConfig(
        base=32,
        bits=10,
        groups=8,  # 32 groups of one channel each would erase what a channel's mean says about colour
        encoder_multipliers=(1, 2, 3, 4),
        encoder_blocks=(0, 1, 1, 2),
        decoder_multipliers=(1, 2, 3, 4),
        decoder_blocks=(1, 1, 1, 2),
    )
    shards: int = 6
    batch: int = 16
    steps: int = 2_400
    lr: float = 2e-3
    warmup_steps: int = 200
    soft_steps: int = 1_500
    entropy: float = 0.02
    commitment: float = 0.05
    edges: float = 1.0
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class LanguageRecipe:
    """Training of the transformer on drawing and on questions, half of each batch each.

    shards         shards of the photo pool that are used
    turns          questions per photo in one sequence
    text_room      text ids kept beside the image in an understanding sequence, longer conversations are cut at a turn
    caption_room   text ids of a caption
    """

    compiled: bool = True
    width: int = 256
    layers: int = 6
    heads: int = 4
    intermediate: int = 1024
    text_vocabulary: int = 800
    text_length: int = 128
    shards: int = 10
    batch_generation: int = 24
    batch_understanding: int = 24
    text_room: int = 120
    caption_room: int = 30
    steps: int = 1_750
    lr: float = 1.5e-3
    final_lr: float = 5e-5
    warmup_steps: int = 300
    weight_decay: float = 0.02
    condition_dropout: float = 0.1
    understanding_weight: float = 1.0
    generation_weight: float = 1.0
    seed: int = 2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The whole recipe. Pool photo i is drawn from seed i alone, held-out photo i from seed `held_out_seed + i`."""

    image_size: int = 64
    shard: int = 4_000
    tokenizer: TokenizerRecipe = field(default_factory=TokenizerRecipe)
    language: LanguageRecipe = field(default_factory=LanguageRecipe)
    held_out: int = 150
    drawn: int = 50
    probed: int = 8
    held_out_seed: int = 900_000_000
