"""Every number of the recipe, as one frozen record. What the runs that made the shipped base used is in its `lineage.json`."""

from dataclasses import dataclass, field

from unictokens.backbones.showo.image_tokenizer import MagvitConfig


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe:
    """Training of the image tokenizer on drawn photos.

    compiled       whether the step goes through torch.compile (its start takes a minute; the gain depends on the processor)
    shards         shards of the photo pool that are used
    soft_steps     steps until every bit the decoder sees is a sign; before, a growing share of them is
    entropy        weight of the look-up-free quantiser's entropy term: bits sure of themselves, used equally often
    commitment     weight of the squared distance between encoder outputs and their signs
    edges          weight of the error of horizontal and vertical differences, which keeps outlines sharp
    attributes     weight of naming a photo's attributes from its bits, by a head that is dropped afterwards (see `attributes`)
    centre         how much more an error in the middle of the picture weighs, where the figure stands, than one in a corner
    """

    compiled: bool = True
    magvit: MagvitConfig = MagvitConfig(
        base=16,  # the finest level costs most of the time: narrow there, wide where the codes are
        bits=12,
        groups=8,  # 32 groups of one channel each would erase what a channel's mean says about colour
        encoder_multipliers=(1, 2, 4, 8),
        encoder_blocks=(0, 1, 1, 2),
        decoder_multipliers=(1, 2, 4, 8),
        decoder_blocks=(1, 1, 1, 2),
    )
    shards: int = 10
    batch: int = 32
    steps: int = 5_600
    lr: float = 2e-3
    warmup_steps: int = 200
    soft_steps: int = 2_800
    entropy: float = 0.02
    commitment: float = 0.05
    edges: float = 1.0
    attributes: float = 1.5
    centre: float = 3.0
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class LanguageRecipe:
    """Training of the transformer on drawing and on questions, half of each batch each.

    shards         shards of the pool of strangers that are used; also of their companions (at most as many) and of residents
    text_room      text ids kept beside the image in an understanding sequence, longer conversations are cut at a turn
    caption_room   text ids of a caption
    residents      share of drawings and of conversations that are about residents
    individuals    share of drawings and of conversations that are about individuals whom rows stand for (see `individuals`)
    packed         share of conversations whose turns do not see each other: what one answer tells, the next must see by itself
    batch_examples, examples_room  rows about following examples (see `examples`) in a step, 0 for none, and text ids of such a row at most
    attributes_weight  weight of naming a photo's attributes by a head that is dropped afterwards (see `attributes`)
    names_weight   weight of telling a resident's attributes from its name by the same head
    gathered_weight    weight of telling the looks of a resident and of a photo from where it is said whether they are the same
    matches_weight     weight of telling there which looks are the same, by a second head that is dropped afterwards
    attributes_layer   layers before that head: the layers after it can still carry to an answer what it made the image tell
    gathered_layer     layers before looks are gathered: those after it can still compare them
    """

    compiled: bool = True
    width: int = 256
    layers: int = 6
    heads: int = 4
    intermediate: int = 1024
    text_vocabulary: int = 1_100
    text_length: int = 128
    shards: int = 16
    companion_shards: int = 12
    resident_shards: int = 8
    batch_generation: int = 16
    batch_understanding: int = 24
    batch_examples: int = 4
    examples_room: int = 440
    text_room: int = 120
    caption_room: int = 30
    residents: float = 0.4
    individuals: float = 0.5
    packed: float = 0.75
    steps: int = 2_300
    lr: float = 1.5e-3
    final_lr: float = 5e-5
    warmup_steps: int = 300
    weight_decay: float = 0.02
    condition_dropout: float = 0.1
    understanding_weight: float = 2.0
    generation_weight: float = 0.7
    examples_weight: float = 1.0
    attributes_weight: float = 1.0
    names_weight: float = 0.5
    gathered_weight: float = 1.0
    matches_weight: float = 3.0
    attributes_layer: int = 3
    gathered_layer: int = 4
    seed: int = 2


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe:
    """The probe that measures whether codes keep fine identity; it learns every training render in these steps.

    concepts       concepts that it is trained for, one after another (0: no probe)
    renders        training renders of the concept, and as many of hard negatives
    held_out       renders of each kind that it is tested on
    """

    concepts: int = 20
    renders: int = 4_500
    held_out: int = 300
    steps: int = 3_000
    batch: int = 64
    width: int = 64
    dropout: float = 0.2
    lr: float = 3e-3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The whole recipe. Pool photo i is drawn from seed i alone, held-out photo i from seed `held_out_seed + i`."""

    image_size: int = 64
    shard: int = 4_000
    tokenizer: TokenizerRecipe = field(default_factory=TokenizerRecipe)
    language: LanguageRecipe = field(default_factory=LanguageRecipe)
    probe: ProbeRecipe = field(default_factory=ProbeRecipe)
    held_out: int = 600
    drawn: int = 50
    held_out_seed: int = 900_000_000
