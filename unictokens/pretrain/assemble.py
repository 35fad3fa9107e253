"""Put a trained base into a backbone folder, in the format every Show-o is loaded from."""

from dataclasses import replace
from pathlib import Path

from safetensors.torch import save
from torch import nn

from unictokens.atomic import write_bytes
from unictokens.backbones.showo.config import ShowOConfig, to_json
from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.pretrain.language import language_config
from unictokens.pretrain.recipe import Recipe


def small_config(recipe: Recipe, text_size: int) -> ShowOConfig:
    """Sizes of the small base."""
    magvit = recipe.tokenizer.magvit
    return ShowOConfig(
        phi=language_config(recipe.language),
        text_size=text_size,
        codebook_bits=magvit.bits,
        num_vq_tokens=(recipe.image_size // magvit.factor) ** 2,
        text_length=recipe.language.text_length,
        image_size=recipe.image_size,
        magvit=magvit,
    )


def weights_bytes(module: nn.Module) -> bytes:
    """All weights of a module as safetensors."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()})


def assemble(
    folder: Path,
    config: ShowOConfig,
    model: LanguageModel,
    magvit: Magvit,
    tokenizer: TextTokenizer,
    fingerprint: str = "",
) -> None:
    """Write `config.json`, `model.safetensors`, `magvit.safetensors` and `tokenizer.json`."""
    write_bytes(folder / "model.safetensors", weights_bytes(model))
    write_bytes(folder / "magvit.safetensors", weights_bytes(magvit))
    write_bytes(folder / "tokenizer.json", tokenizer.to_json().encode())
    write_bytes(folder / "config.json", to_json(replace(config, fingerprint=fingerprint)).encode())
