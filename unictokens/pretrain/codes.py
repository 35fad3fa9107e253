"""Train the image tokenizer (MAGVIT-v2 with look-up-free quantisation) on drawn photos."""

import hashlib
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.backbones.showo.magvit_layers import ResidualBlock, SpatialAttention
from unictokens.pretrain.attributes import CodeHead, attribute_hits, attribute_loss, attributes_of
from unictokens.pretrain.loop import Training
from unictokens.pretrain.pool import photo_of, save_array, shard_path, to_network
from unictokens.pretrain.recipe import TokenizerRecipe

logger = logging.getLogger(__name__)


def centre_weights(height: int, width: int, centre: float) -> Tensor:
    """Weights float32 [H, W] of mean 1 that fall from the middle to the corners; the middle has about `centre` times more."""
    y_H, x_W = torch.linspace(-1.0, 1.0, height), torch.linspace(-1.0, 1.0, width)
    weights_HW = 1.0 + (centre - 1.0) * torch.exp(-(y_H.square()[:, None] + x_W.square()[None, :]) / 0.8)
    return weights_HW / weights_HW.mean()


def reconstruction_loss(images_BCHW: Tensor, rebuilt_BCHW: Tensor, weights_HW: Tensor, edges: float) -> Tensor:
    """Weighted absolute and squared error, plus the weighted absolute error of neighbouring differences."""
    error_BCHW = rebuilt_BCHW - images_BCHW
    across = (error_BCHW.diff(dim=3).abs() * weights_HW[:, 1:]).mean()
    down = (error_BCHW.diff(dim=2).abs() * weights_HW[1:]).mean()
    return ((error_BCHW.abs() + error_BCHW.square()) * weights_HW).mean() + edges * (across + down)


def entropy_loss(z_BCHW: Tensor) -> Tensor:
    """Mean entropy of each bit minus the entropy of its mean (look-up-free quantisation, factorised over bits)."""
    p_BCHW = torch.sigmoid(4.0 * z_BCHW)
    return _binary_entropy(p_BCHW).mean() - _binary_entropy(p_BCHW.mean(dim=(0, 2, 3))).mean()


def _binary_entropy(p: Tensor) -> Tensor:
    p = p.clamp(1e-6, 1.0 - 1e-6)
    return -(p * p.log() + (1.0 - p) * (1.0 - p).log())


def start_weights(model: Magvit) -> None:
    """Begin as an almost linear pyramid: convolutions keep the variance, residual branches start at zero.

    With the layers' usual start the same net needed 600 steps where this one needed 400 (soft bits, absolute error 0.2).
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in model.modules():
        if isinstance(layer, ResidualBlock):
            nn.init.zeros_(layer.conv2.weight)
        elif isinstance(layer, SpatialAttention):
            nn.init.zeros_(layer.proj_out.weight)


class Pupil(nn.Module):
    """What is trained together: the image tokenizer, and the attribute head that only the training needs."""

    def __init__(self, recipe: TokenizerRecipe, start: Magvit | None) -> None:
        super().__init__()
        self.magvit = Magvit(recipe.magvit)
        if start is None:
            start_weights(self.magvit)
        else:
            self.magvit.load_state_dict(start.state_dict())
        self.attributes = CodeHead(recipe.magvit.bits)


@dataclass(frozen=True)
class Losses:
    """The loss of a batch, and its parts worth watching."""

    pupil: Pupil
    recipe: TokenizerRecipe
    weights_HW: Tensor

    def __call__(self, images_BCHW: Tensor, binary: Tensor, attributes_BA: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, rebuilding error, and attribute logits [B, sum of SIZES]; `binary` bool [B, bits, h, w] says which bits are signs."""
        recipe, magvit = self.recipe, self.pupil.magvit
        with torch.autocast(images_BCHW.device.type, torch.bfloat16):
            z_BCHW = magvit.encode_bits(images_BCHW).float()
            soft_BCHW = torch.tanh(z_BCHW)
            signs_BCHW = torch.where(z_BCHW > 0, 1.0, -1.0)
            # Straight through: where bits are binary the decoder sees signs, the encoder gets tanh's gradient.
            bits_BCHW = soft_BCHW + torch.where(binary, signs_BCHW - soft_BCHW, 0.0).detach()
            rebuilt_BCHW = magvit.decoder(bits_BCHW).float()
            logits_BL = self.pupil.attributes(bits_BCHW)
        rebuilding = reconstruction_loss(images_BCHW, rebuilt_BCHW, self.weights_HW, recipe.edges)
        loss = rebuilding + recipe.attributes * attribute_loss(logits_BL, attributes_BA)
        commitment = (soft_BCHW - signs_BCHW).square().mean()
        return loss + recipe.entropy * entropy_loss(z_BCHW) + recipe.commitment * commitment, rebuilding, logits_BL


def learning_rate(recipe: TokenizerRecipe, step: int) -> float:
    """Linear warm-up under a cosine that falls to a fiftieth."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return recipe.lr * warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * step / recipe.steps)))


def train_image_tokenizer(
    recipe: TokenizerRecipe, folder: Path, device: str, until: int | None = None, start: Magvit | None = None
) -> Magvit:
    """Train on the first pixel shards of `folder`, or go on from the state in it; returns the tokenizer in float32 on the CPU.

    Without a state of the same beginning, training begins from `start`'s weights, with binary bits at once, or from random
    ones.

    Matrix products run in bfloat16, weights and optimizer stay float32. `until` stops early, after that many steps in all;
    what follows later is what would have followed at once.
    """
    torch.manual_seed(recipe.seed)
    pupil = Pupil(recipe, start).to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=recipe.lr, betas=(0.9, 0.95), weight_decay=1e-4)
    state = folder / f"tokenizer-from-{'nothing' if start is None else codes_kind(start)}.state.safetensors"
    training = Training("image tokenizer", pupil, optimizer, state)
    last = recipe.steps if until is None else min(until, recipe.steps)
    if training.done >= last:
        return pupil.magvit.eval().cpu()
    pixels = np.concatenate(
        [np.load(shard_path(folder, "strangers", "pixels", shard)) for shard in range(recipe.shards)]
    )
    attributes_PA = torch.tensor([attributes_of(photo_of(seed)) for seed in range(len(pixels))])
    losses = Losses(pupil, recipe, centre_weights(pixels.shape[1], pixels.shape[2], recipe.centre).to(device))
    fast_losses = torch.compile(losses) if recipe.compiled else losses

    def learn(step: int) -> tuple[dict[str, float], np.ndarray]:
        rng = np.random.default_rng((recipe.seed, step))
        chosen = rng.integers(len(pixels), size=recipe.batch)
        images_BCHW = to_network(pixels[chosen]).to(device, memory_format=torch.channels_last)
        # An auto-encoder learns much faster through soft bits: each bit is binary with a probability that grows to 1.
        share = 1.0 if start is not None else min(1.0, step / max(1, recipe.soft_steps))
        grid = tuple(side // recipe.magvit.factor for side in images_BCHW.shape[2:])
        binary = torch.from_numpy(rng.random((recipe.batch, recipe.magvit.bits, *grid)) < share).to(device)
        attributes_BA = attributes_PA[torch.from_numpy(chosen)].to(device)
        loss, rebuilding, logits_BL = fast_losses(images_BCHW, binary, attributes_BA)
        loss.backward()
        hits_A = attribute_hits(logits_BL.detach(), attributes_BA).cpu().numpy()
        return {"loss": loss.item(), "rebuilding": rebuilding.item()}, hits_A

    training.run(last, lambda step: learning_rate(recipe, step), learn, report=100, save=500)
    return pupil.magvit.eval().cpu()


@torch.no_grad()
def mean_error(model: Magvit, pixels_BHWC: np.ndarray) -> float:
    """Mean absolute error of rebuilt photos, in units of 1/255."""
    images_BCHW = to_network(pixels_BHWC)
    rebuilt_BCHW = model.decode_codes(model.codes(images_BCHW))
    return float(functional.l1_loss(rebuilt_BCHW.clamp(-1.0, 1.0), images_BCHW) * 127.5)


def codes_kind(model: Magvit) -> str:
    """Kind of shard that holds the codes of this image tokenizer and of no other."""
    digest = hashlib.sha256()
    for tensor in model.encoder.state_dict().values():
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return f"codes-{digest.hexdigest()[:12]}"


@torch.no_grad()
def encode_shards(model: Magvit, folder: Path, pool: str, shards: int, device: str) -> np.ndarray:
    """Codes int16 [photos, N] of a pool's pixel shards, computed once per image tokenizer and kept beside them."""
    kind = codes_kind(model)
    found = []
    for shard in range(shards):
        path = shard_path(folder, pool, kind, shard)
        if not path.is_file():
            pixels, model = np.load(shard_path(folder, pool, "pixels", shard)), model.to(device)
            parts = [model.codes(to_network(pixels[at : at + 50]).to(device)).cpu() for at in range(0, len(pixels), 50)]
            save_array(path, torch.cat(parts).to(torch.int16).numpy())
            logger.info("encoded shard %d of %d of the pool of %s", shard + 1, shards, pool)
        found.append(np.load(path))
    return np.concatenate(found)
