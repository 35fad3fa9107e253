"""MaskGIT decoding of image codes (Chang et al. 2022, as Show-o's `t2i_generate` does it): all codes at once, in steps.

Each step samples every hidden code, keeps the most confident and hides the rest again. Pure functions over codes: what the
model is, only `logits_of` knows. A hidden code is HIDDEN (-1).

Random numbers per step: one multinomial over all [B * N] places, then one uniform [B, N]. One generator for all rows
draws them in this order (the published code); one generator per row makes a row independent of its neighbours, and
equals the former for a batch of one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

HIDDEN = -1
TINY = 1e-20


def keep_hidden(step: int, steps: int, codes: int) -> int:
    """How many of `codes` places the cosine schedule hides after 0-based `step` of `steps`; -1 after the last."""
    progress = torch.tensor((step + 1) / steps)
    return int(torch.floor(codes * torch.cos(progress * math.pi * 0.5)))


def mask_ratio(progress: Tensor) -> Tensor:
    """Cosine schedule: share of hidden codes float32 [...] at `progress` in [0, 1], also of training (Show-o eq. 5)."""
    return torch.cos(progress * math.pi * 0.5)


def training_mask(time_B: Tensor, order_BN: Tensor) -> Tensor:
    """Codes hidden in training, bool [B, N]: a share mask_ratio(time) of each row, at least one, in a random order.

    time_B float32 [B] and order_BN float32 [B, N] are uniform numbers in [0, 1), drawn in this order by the published code.
    """
    N = order_BN.shape[1]
    counts_B = (N * mask_ratio(time_B)).round().clamp(min=1)
    return order_BN.argsort(dim=-1) < counts_B[:, None]


def temperatures(start: float, steps: int) -> list[float]:
    """Noise temperature of every step: the published code multiplies by (1 - progress) at each, cumulatively."""
    found, temperature = [], start
    for step in range(steps):
        temperature = temperature * (1.0 - (step + 1) / steps)
        found.append(temperature)
    return found


def draw_codes(probs_BNC: Tensor, generators: Sequence[Generator]) -> Tensor:
    """One code per place, int64 [B, N], from probabilities float32 [B, N, C]."""
    B, N, C = probs_BNC.shape
    if len(generators) == 1:
        return torch.multinomial(probs_BNC.reshape(B * N, C), 1, generator=generators[0]).view(B, N)
    drawn = [torch.multinomial(probs_BNC[row], 1, generator=generators[row])[:, 0] for row in range(B)]
    return torch.stack(drawn)


def draw_uniform(shape: tuple[int, int], generators: Sequence[Generator], device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1), float32 [B, N]."""
    if len(generators) == 1:
        return torch.rand(shape, generator=generators[0], device=device)
    return torch.stack([torch.rand(shape[1], generator=generator, device=device) for generator in generators])


def least_confident(
    probs_BN: Tensor, counts_B1: Tensor, temperature: float | Tensor, generators: Sequence[Generator]
) -> Tensor:
    """The `counts_B1` (int64 [B, 1]) least confident places of each row, bool [B, N].

    Confidence is log probability (float32 [B, N]) plus Gumbel noise scaled by `temperature`, one for all rows or
    float32 [B, 1]; ties at the cut are kept.
    """
    B, N = probs_BN.shape
    uniform_BN = draw_uniform((B, N), generators, probs_BN.device)
    gumbel_BN = -_log(-_log(uniform_BN))
    confidence_BN = _log(probs_BN) + temperature * gumbel_BN
    ordered_BN = confidence_BN.sort(dim=1).values
    return confidence_BN < ordered_BN.gather(1, counts_B1)


@dataclass(frozen=True)
class Schedule:
    """What one drawing does in each of its steps.

    hide   how many places to hide again; the last is of no consequence
    noise  temperatures of the remasking noise
    """

    hide: tuple[int, ...]
    noise: tuple[float, ...]

    @classmethod
    def of(cls, steps: int, temperature: float, codes: int) -> "Schedule":
        """The cosine schedule for `codes` places: all of an image's, or those of its part that is drawn anew."""
        hide = tuple(keep_hidden(step, steps, codes) for step in range(steps))
        return cls(hide, tuple(temperatures(temperature, steps)))


def advance(
    probs_BNC: Tensor,
    current_BN: Tensor,
    hide_B1: Tensor,
    noise: float | Tensor,
    generators: Sequence[Generator],
) -> tuple[Tensor, Tensor]:
    """One step of rows that may be at different steps: (sampled codes int64 [B, N], those of them to hide bool [B, N]).

    probs_BNC   float32 [B, N, C] for the state current_BN (int64 [B, N], HIDDEN where unknown)
    hide_B1     int64 [B, 1], the schedule's number; at least one place is hidden again and at most all but one
    noise       the schedule's temperature, one for all rows or float32 [B, 1]
    """
    hidden_BN = current_BN == HIDDEN
    sampled_BN = draw_codes(probs_BNC, generators).where(hidden_BN, current_BN)
    chosen_BN = probs_BNC.gather(2, sampled_BN[:, :, None])[:, :, 0]
    chosen_BN = chosen_BN.where(hidden_BN, torch.finfo(chosen_BN.dtype).max)
    # At least one place is hidden again, even after the last step, where it is of no consequence.
    counts_B1 = torch.minimum(hidden_BN.sum(1, keepdim=True) - 1, hide_B1).clamp(min=1)
    return sampled_BN, least_confident(chosen_BN, counts_B1, noise, generators)


def decode(
    logits_of: Callable[[Tensor], Tensor],
    start_BN: Tensor,
    steps: int,
    temperature: float,
    generators: Sequence[Generator],
    trace: Sequence[int] = (),
) -> tuple[Tensor, dict[int, Tensor]]:
    """Decode `start_BN` (int64 [B, N], HIDDEN where unknown) to codes int64 [B, N].

    logits_of      codes int64 [B, N] with HIDDEN places to logits float32 [B, N, C]; guidance is its business
    generators     one for all rows, or one per row
    trace          1-based steps whose sampled codes, before hiding again, are returned by step

    Known codes of `start_BN` stay as they are (inpainting); the schedule counts all N places, as published.
    """
    B, N = start_BN.shape
    current_BN, sampled_BN = start_BN, start_BN
    traced: dict[int, Tensor] = {}
    schedule = Schedule.of(steps, temperature, N)
    for step, (hide, noise) in enumerate(zip(schedule.hide, schedule.noise, strict=True)):
        probs_BNC = logits_of(current_BN).softmax(dim=-1)
        hide_B1 = torch.full((B, 1), hide, device=start_BN.device)
        sampled_BN, hidden_BN = advance(probs_BNC, current_BN, hide_B1, noise, generators)
        if step + 1 in trace:
            traced[step + 1] = sampled_BN
        current_BN = sampled_BN.masked_fill(hidden_BN, HIDDEN)
    return sampled_BN, traced


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=TINY).log()
