"""Layers of the MAGVIT-v2 image tokenizer as Show-o ships it: a plain 2-D convolutional net.

Attribute names are the published checkpoint's key names, so that its state dict loads unchanged. Operations are written
out in the published order, not fused: codes are signs and pictures are truncated to bytes, so the last bit counts.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPS = 1e-6


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """Group normalisation; `channels` must be a multiple of `groups` (32 in the published model)."""
    return nn.GroupNorm(groups, channels, eps=NORM_EPS)


def swish(x: Tensor) -> Tensor:
    """x * sigmoid(x), same shape and dtype."""
    return x * torch.sigmoid(x)


class ResidualBlock(nn.Module):
    """Twice (norm, swish, 3x3 convolution) beside an identity, or beside a 1x1 convolution when the width changes."""

    def __init__(self, inner: int, outer: int, groups: int) -> None:
        super().__init__()
        self.norm1 = group_norm(inner, groups)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2 = group_norm(outer, groups)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inner, outer, 1) if inner != outer else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """float [B, inner, H, W] to [B, outer, H, W]."""
        h_BCHW = self.conv1(swish(self.norm1(x_BCHW)))
        h_BCHW = self.conv2(swish(self.norm2(h_BCHW)))
        return h_BCHW + (x_BCHW if self.nin_shortcut is None else self.nin_shortcut(x_BCHW))


class SpatialAttention(nn.Module):
    """Single-head self-attention over all positions, residual."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """float [B, C, H, W] to the same shape."""
        h_BCHW = self.norm(x_BCHW)
        q_BCN, k_BCN, v_BCN = (layer(h_BCHW).flatten(2) for layer in (self.q, self.k, self.v))
        scores_BNN = torch.bmm(q_BCN.transpose(1, 2), k_BCN) * (q_BCN.shape[1] ** -0.5)
        mixed_BCN = torch.bmm(v_BCN, scores_BNN.softmax(dim=2).transpose(1, 2))
        return x_BCHW + self.proj_out(mixed_BCN.reshape(x_BCHW.shape))


class Downsample(nn.Module):
    """Halve height and width: pad right and bottom by one, 3x3 convolution with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """float [B, C, H, W] to [B, C, H/2, W/2]."""
        return self.conv(functional.pad(x_BCHW, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """float [B, C, H, W] to [B, C, 2H, 2W]."""
        return self.conv(functional.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


class Middle(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, groups)
        self.attn_1 = SpatialAttention(channels, groups)
        self.block_2 = ResidualBlock(channels, channels, groups)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """float [B, C, H, W] to the same shape."""
        return self.block_2(self.attn_1(self.block_1(x_BCHW)))


class Level(nn.Module):
    """The residual blocks of one resolution, and the layer that leaves it (added by the encoder or decoder)."""

    def __init__(self, inner: int, outer: int, blocks: int, groups: int) -> None:
        super().__init__()
        self.block = nn.ModuleList([ResidualBlock(inner if at == 0 else outer, outer, groups) for at in range(blocks)])
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """float [B, inner, H, W] to [B, outer, H', W']."""
        for block in self.block:
            x_BCHW = block(x_BCHW)
        if self.downsample is not None:
            return self.downsample(x_BCHW)
        return x_BCHW if self.upsample is None else self.upsample(x_BCHW)


class Encoder(nn.Module):
    """Pixels to one real number per bit: widths are `base` times `multipliers`, one level per entry."""

    def __init__(
        self, base: int, bits: int, groups: int, multipliers: tuple[int, ...], blocks: tuple[int, ...]
    ) -> None:
        super().__init__()
        widths = [base * multiplier for multiplier in multipliers]
        self.conv_in = nn.Conv2d(3, base, 3, padding=1)
        self.down = nn.ModuleList()
        for at, width in enumerate(widths):
            level = Level(base if at == 0 else widths[at - 1], width, blocks[at], groups)
            if at + 1 < len(widths):
                level.downsample = Downsample(width)
            self.down.append(level)
        self.mid = Middle(widths[-1], groups)
        self.norm_out = group_norm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], bits, 3, padding=1)
        self.quant_conv = nn.Conv2d(bits, bits, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """float [B, 3, H, W] in [-1, 1] to [B, bits, H/f, W/f], f = 2^(levels-1)."""
        h_BCHW = self.conv_in(images_BCHW)
        for level in self.down:
            h_BCHW = level(h_BCHW)
        h_BCHW = self.conv_out(swish(self.norm_out(self.mid(h_BCHW))))
        return self.quant_conv(h_BCHW)


class Decoder(nn.Module):
    """Bits (-1 or +1) to pixels; level numbers run from 0 (finest) upwards and are worked through downwards."""

    def __init__(
        self, base: int, bits: int, groups: int, multipliers: tuple[int, ...], blocks: tuple[int, ...]
    ) -> None:
        super().__init__()
        widths = [base * multiplier for multiplier in multipliers]
        top = len(widths) - 1
        self.post_quant_conv = nn.Conv2d(bits, bits, 1)
        self.conv_in = nn.Conv2d(bits, widths[top], 3, padding=1)
        self.mid = Middle(widths[top], groups)
        levels = []
        for at, width in enumerate(widths):
            level = Level(widths[min(at + 1, top)], width, blocks[at], groups)
            if at > 0:
                level.upsample = Upsample(width)
            levels.append(level)
        self.up = nn.ModuleList(levels)
        self.norm_out = group_norm(widths[0], groups)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, bits_BCHW: Tensor) -> Tensor:
        """float [B, bits, h, w] to [B, 3, h*f, w*f], nominally in [-1, 1]."""
        h_BCHW = self.mid(self.conv_in(self.post_quant_conv(bits_BCHW)))
        for at in reversed(range(len(self.up))):
            h_BCHW = self.up[at](h_BCHW)
        return self.conv_out(swish(self.norm_out(h_BCHW)))
