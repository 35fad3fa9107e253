"""Generation as perception (paper section 3.4, equation 5): the model draws the concept and shows where it decides late.

Places whose codes still change between an early and a late step of the sampler carry what is particular about the
concept; the embedding rows there start the understanding tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unictokens.backbones.base import Backbone, Drawing, GenerationRequest, Sampling
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import PerceptionConfig
from unictokens.images import to_pictures, to_tensor

DRAWN_TOGETHER = 4
"""Pictures per call of the sampler and run; fixed, so that rounding does not depend on the machine's memory."""
MOST_DRAWN_TOGETHER = 32
"""Pictures per call of the sampler for all runs together."""
WHITE = 255


@dataclass(frozen=True, eq=False)
class Sighting:
    """One picture the model drew of the concept, watched while it was drawn.

    early_N, late_N, final_N  codes int64 [N] sampled at the early, the late and the last step
    region_N                  bool [N] places that differ: early from late for "changed", late from last for "painted"
    view                      the picture whose codes start rows: the finished one, or the painted one
    seen_N                    codes int64 [M] that start rows
    """

    early_N: Tensor
    late_N: Tensor
    final_N: Tensor
    region_N: Tensor
    view: Image.Image
    seen_N: Tensor


@dataclass(frozen=True, eq=False)
class PerceptionRequest:
    """What a run wants to see: pictures of `prompt` with its rows so far, one per seed."""

    tokens: ConceptTokens
    prompt: Prompt
    config: PerceptionConfig
    seeds: tuple[int, ...]


def watch(backbone: Backbone, requests: Sequence[PerceptionRequest]) -> list[tuple[Sighting, ...]]:
    """Draw the pictures of all requests and note what changed late; those drawn alike share calls of the sampler."""
    found: list[tuple[Sighting, ...]] = [() for _ in requests]
    for config in dict.fromkeys(request.config for request in requests):
        alike = [at for at, request in enumerate(requests) if request.config == config]
        for at, sightings in zip(alike, _watch(backbone, [requests[at] for at in alike], config), strict=True):
            found[at] = sightings
    return found


def _watch(
    backbone: Backbone, requests: Sequence[PerceptionRequest], config: PerceptionConfig
) -> list[tuple[Sighting, ...]]:
    bank = ConceptBank.stack([request.tokens.detach() for request in requests])
    sampling = Sampling(
        steps=config.sampling.steps,
        guidance=config.sampling.guidance,
        temperature=config.sampling.temperature,
        trace=(config.early_step, config.late_step),
    )
    sight = _painted if config.regions == "painted" else _changed
    wanted = [
        GenerationRequest(request.prompt, seed, (slot,))
        for slot, request in enumerate(requests)
        for seed in request.seeds
    ]
    together = min(MOST_DRAWN_TOGETHER, DRAWN_TOGETHER * len(requests))
    seen: list[Sighting] = []
    for start in range(0, len(wanted), together):
        drawings = backbone.generate(wanted[start : start + together], bank, sampling)
        seen += [sight(backbone, drawing, config) for drawing in drawings]
    ends = list(accumulate(len(request.seeds) for request in requests))
    return [tuple(seen[end - len(request.seeds) : end]) for request, end in zip(requests, ends, strict=True)]


def _changed(backbone: Backbone, drawing: Drawing, config: PerceptionConfig) -> Sighting:
    early_N, late_N = drawing.trace[config.early_step], drawing.trace[config.late_step]
    region_N = early_N != late_N
    view = to_pictures(backbone.decode(drawing.codes_N[None]))[0]
    return Sighting(early_N, late_N, drawing.codes_N, region_N, view, drawing.codes_N[region_N])


def _painted(backbone: Backbone, drawing: Drawing, config: PerceptionConfig) -> Sighting:
    """The published code: white where the late codes are not the last ones, and everything else, background included."""
    late_N = drawing.trace[config.late_step]
    region_N = late_N != drawing.codes_N
    view = paint(to_pictures(backbone.decode(late_N[None]))[0], region_N)
    seen_N = backbone.encode(to_tensor(view)[None])[0]
    return Sighting(drawing.trace[config.early_step], late_N, drawing.codes_N, region_N, view, seen_N)


def paint(picture: Image.Image, region_N: Tensor) -> Image.Image:
    """The square picture with the cells of `region_N` bool [N] (row by row) in white."""
    side = round(region_N.numel() ** 0.5)
    cell = picture.width // side
    region_HW = region_N.reshape(side, side).cpu().numpy().repeat(cell, axis=0).repeat(cell, axis=1)
    pixels_HWC = np.array(picture)
    pixels_HWC[region_HW] = WHITE
    return Image.fromarray(pixels_HWC)


def seen_rows(backbone: Backbone, sightings: Sequence[Sighting], order: Sequence[int]) -> Tensor:
    """Embedding rows float32 [M, D] of everything seen, pictures in `order`."""
    return backbone.image_rows(torch.cat([sightings[at].seen_N for at in order]))
