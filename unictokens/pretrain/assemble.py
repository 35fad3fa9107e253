"""Put a trained base together as a Show-o and into a backbone folder."""

from pathlib import Path

from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.config import ShowOConfig
from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.weights import save_backbone
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.pretrain.language import language_config
from unictokens.pretrain.recipe import Recipe


def small_config(recipe: Recipe, text_size: int) -> ShowOConfig:
    """Sizes of the small base; its transformer is stored in bfloat16, which halves the package."""
    magvit = recipe.tokenizer.magvit
    return ShowOConfig(
        phi=language_config(recipe.language),
        text_size=text_size,
        codebook_bits=magvit.bits,
        num_vq_tokens=(recipe.image_size // magvit.factor) ** 2,
        text_length=recipe.language.text_length,
        image_size=recipe.image_size,
        magvit=magvit,
        stored="bfloat16",
    )


def assemble(folder: Path, config: ShowOConfig, model: LanguageModel, magvit: Magvit, tokenizer: TextTokenizer) -> str:
    """Write the backbone folder; returns the fingerprint of the frozen weights."""
    return save_backbone(ShowO(config, model, magvit, tokenizer), folder)
