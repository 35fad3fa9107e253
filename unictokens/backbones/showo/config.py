"""Sizes of one Show-o: read from a backbone folder's `config.json`, ours or the published diffusers-style one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from unictokens.backbones.showo.image_tokenizer import MagvitConfig
from unictokens.errors import CheckpointError, ConfigError

FORMAT = "unictokens-showo-1"
SPECIAL_COUNT = 10

PHI_1_5: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 2048,
    "partial_rotary_factor": 0.5,
    "rope_theta": 10000.0,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu_new",
    "initializer_range": 0.02,
}
"""The architecture that the published `llm_model_path` "microsoft/phi-1_5" names."""

Size = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class ShowOConfig:
    """All sizes of a Show-o; the defaults are the published 512-pixel model.

    phi             values of transformers' PhiConfig; vocabulary size, q/k LayerNorm and untied head are set by us
    text_size       text ids, the end-of-text id included (Show-o's `llm_vocab_size`)
    codebook_bits   bits per image code
    num_vq_tokens   image codes per image (N)
    text_length     room for text beside an image (T); a drawing prompt takes T + 1 places
    image_size      side of an image in pixels
    magvit          sizes of the image tokenizer
    stored          number format of the transformer's tensors in the file
    fingerprint     expected SHA-256 of the frozen weights, checked on load when present
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    phi: dict[str, Any] = field(default_factory=lambda: dict(PHI_1_5))
    text_size: Size = 50295
    codebook_bits: Annotated[int, Field(ge=1, le=20)] = 13
    num_vq_tokens: Size = 1024
    text_length: Annotated[int, Field(ge=8)] = 128
    image_size: Size = 512
    magvit: MagvitConfig = MagvitConfig()
    stored: Literal["float32", "bfloat16", "float16"] = "float32"
    fingerprint: str = ""

    def __post_init__(self) -> None:
        side = self.image_size // self.magvit.factor
        if side * self.magvit.factor != self.image_size or side * side != self.num_vq_tokens:
            raise ConfigError(
                f"num_vq_tokens is {self.num_vq_tokens}, but {self.image_size} pixels at {self.magvit.factor} per code "
                f"give {side}x{side}: correct image_size, num_vq_tokens or magvit in config.json"
            )
        if self.codebook_bits != self.magvit.bits:
            raise ConfigError(
                f"codebook_bits is {self.codebook_bits} but magvit.bits is {self.magvit.bits}: make them equal"
            )

    @property
    def codebook_size(self) -> int:
        """Number of different image codes."""
        return 2**self.codebook_bits

    @property
    def vocab_size(self) -> int:
        """Frozen vocabulary V: text, ten special ids, image codes, one mask."""
        return self.text_size + SPECIAL_COUNT + self.codebook_size + 1

    @property
    def width(self) -> int:
        """Hidden width D."""
        return int(self.phi["hidden_size"])


@cache
def _adapter() -> TypeAdapter[ShowOConfig]:
    return TypeAdapter(ShowOConfig)


def to_json(config: ShowOConfig) -> str:
    """The text of our `config.json`."""
    values = {"format": FORMAT, **_adapter().dump_python(config, mode="json")}
    return json.dumps(values, indent=2) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from `path`; raises CheckpointError when it is missing or no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"'{path}' is missing: point to a complete Show-o folder") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"'{path}' is not readable JSON ({error}): copy the file again") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"'{path}' holds a {type(values).__name__}: it must be a JSON object")
    return values


def read_config(path: Path, phi: Mapping[str, Any] | None = None) -> ShowOConfig:
    """Read `config.json` of our own folders or of a published Show-o.

    `phi` replaces the language model's values where a published folder names another one than phi-1_5.
    Raises CheckpointError for an unreadable file or sizes that contradict each other.
    """
    values = read_json(path)
    if values.get("format") == FORMAT:
        try:
            return _adapter().validate_python({key: value for key, value in values.items() if key != "format"})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CheckpointError(f"'{path}': {where} is {first['input']!r}: {first['msg'].lower()}") from error
        except ConfigError as error:
            raise CheckpointError(f"'{path}': {error}") from error
    if values.get("_class_name") == "Showo":
        return _published(values, path, phi)
    raise CheckpointError(f'\'{path}\' describes no Show-o: it needs "format": "{FORMAT}" or "_class_name": "Showo"')


def _published(values: Mapping[str, Any], path: Path, phi: Mapping[str, Any] | None) -> ShowOConfig:
    if values.get("w_clip_vit", False):
        raise CheckpointError(f"'{path}': w_clip_vit is true: use the Show-o without CLIP (showlab/show-o-512x512)")
    if phi is None and values.get("llm_model_path", "microsoft/phi-1_5") != "microsoft/phi-1_5":
        raise CheckpointError(
            f"'{path}': language model {values['llm_model_path']!r} is unknown: put its config.json beside it as phi-1_5/config.json"
        )
    codes, count = values.get("codebook_size", 8192), values.get("num_vq_tokens", 256)
    if not isinstance(codes, int) or codes < 2 or codes & (codes - 1):
        raise CheckpointError(f"'{path}': codebook_size is {codes!r}: it must be a power of two")
    magvit = MagvitConfig(bits=codes.bit_length() - 1)
    if not isinstance(count, int) or round(count**0.5) ** 2 != count:
        raise CheckpointError(f"'{path}': num_vq_tokens is {count!r}: it must be a square")
    try:
        config = ShowOConfig(
            phi=dict(phi or PHI_1_5),
            text_size=values.get("llm_vocab_size", 50295),
            codebook_bits=magvit.bits,
            num_vq_tokens=count,
            image_size=round(count**0.5) * magvit.factor,
            magvit=magvit,
        )
    except ConfigError as error:
        raise CheckpointError(f"'{path}': {error}") from error
    if values.get("vocab_size", config.vocab_size) != config.vocab_size:
        raise CheckpointError(
            f"'{path}': vocab_size is {values['vocab_size']!r}: text, specials and codes add up to {config.vocab_size}"
        )
    return config
