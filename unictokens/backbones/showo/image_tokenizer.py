"""MAGVIT-v2 with look-up-free quantisation: an image is a grid of codes, a code is a few signs.

Channel k of the encoder gives bit k of a code, channel 0 the most significant; a bit is 1 where the channel is strictly
positive. Decoding puts +1 and -1 back. Sizes come from `MagvitConfig`; its defaults are the published model's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unictokens.backbones.showo.magvit_layers import Decoder, Encoder
from unictokens.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MagvitConfig:
    """Sizes of the image tokenizer: first width, bits per code, groups of the group normalisation, and per
    level its width multiplier and residual blocks.

    Both halves list levels from the finest to the coarsest; n levels shrink an image by 2^(n-1).
    """

    base: int = 128
    bits: int = 13
    groups: int = 32
    encoder_multipliers: tuple[int, ...] = (1, 2, 2, 4, 4)
    encoder_blocks: tuple[int, ...] = (4, 3, 4, 3, 4)
    decoder_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    decoder_blocks: tuple[int, ...] = (4, 4, 3, 4, 3)

    def __post_init__(self) -> None:
        levels = len(self.encoder_multipliers)
        for field in ("encoder_blocks", "decoder_multipliers", "decoder_blocks"):
            if len(getattr(self, field)) != levels:
                raise ConfigError(f"magvit.{field} has {len(getattr(self, field))} levels: it must have {levels}")

    @property
    def factor(self) -> int:
        """Pixels per code along each side."""
        return 2 ** (len(self.encoder_multipliers) - 1)


class Quantizer(nn.Module):
    """The code book as buffers (they are part of the published checkpoint): signs per code, value per bit."""

    embedding: Tensor
    power_vals: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        powers = 2 ** torch.arange(bits - 1, -1, -1, dtype=torch.long)
        signs = ((torch.arange(2**bits)[:, None] & powers) > 0).float() * 2.0 - 1.0
        self.register_buffer("embedding", signs)
        self.register_buffer("power_vals", powers)

    def codes(self, z_BCHW: Tensor) -> Tensor:
        """float [B, bits, h, w] to codes int64 [B, h*w], row by row."""
        bits_BNC = (z_BCHW > 0).flatten(2).transpose(1, 2).long()
        return (bits_BNC * self.power_vals).sum(-1)

    def signs(self, codes_BN: Tensor, height: int, width: int) -> Tensor:
        """Codes int64 [B, h*w] to -1/+1 float [B, bits, h, w]."""
        return self.embedding[codes_BN].transpose(1, 2).reshape(codes_BN.shape[0], -1, height, width)


class Magvit(nn.Module):
    """The image tokenizer; parameter names are the published checkpoint's."""

    def __init__(self, config: MagvitConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(
            config.base, config.bits, config.groups, config.encoder_multipliers, config.encoder_blocks
        )
        self.decoder = Decoder(
            config.base, config.bits, config.groups, config.decoder_multipliers, config.decoder_blocks
        )
        self.quantize = Quantizer(config.bits)

    def encode_bits(self, images_BCHW: Tensor) -> Tensor:
        """float [B, 3, H, W] in [-1, 1] to encoder outputs [B, bits, H/f, W/f], whose signs are the bits."""
        return self.encoder(images_BCHW)

    @torch.no_grad()
    def codes(self, images_BCHW: Tensor) -> Tensor:
        """float [B, 3, H, W] in [-1, 1] to codes int64 [B, N], row by row."""
        return self.quantize.codes(self.encode_bits(images_BCHW))

    @torch.no_grad()
    def decode_codes(self, codes_BN: Tensor, shape: tuple[int, int] | None = None) -> Tensor:
        """Codes int64 [B, N] to images [B, 3, h*f, w*f]; `shape` is (h, w) in codes, square unless given.

        Raises ConfigError when N is not a square and no shape is given, or does not fit it.
        """
        count = codes_BN.shape[1]
        height, width = shape or (round(count**0.5), round(count**0.5))
        if height * width != count:
            raise ConfigError(f"{count} codes do not form a grid of {height}x{width}: pass the shape (height, width)")
        return self.decoder(self.quantize.signs(codes_BN, height, width))
