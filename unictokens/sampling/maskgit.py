"""MaskGIT decoding of image codes (Chang et al. 2022, as Show-o's `t2i_generate` does it): all codes at once, in steps.

Each step samples every hidden code, keeps the most confident and hides the rest again. Pure functions over codes: what the
model is, only `logits_of` knows. A hidden code is HIDDEN (-1).

Random numbers per step, where each row has a generator of its own: two uniform numbers per place, [N] and [N], one to choose a
code, one to choose what stays; a row does not depend on its neighbours. One generator for all rows draws as the published
code does: one multinomial over all [B * N] places, which takes a number per code, then one uniform [B, N].
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

HIDDEN = -1
TINY = 1e-20

Randomness = Generator | Sequence[Generator]
"""One generator for all rows, in the published order, or one per row."""


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


def draw_codes(probs_MC: Tensor, hidden_BN: Tensor, randomness: Randomness) -> Tensor:
    """A code for each hidden place, int64 [M], from its probabilities float32 [M, C]; hidden_BN bool [B, N] has M places."""
    if isinstance(randomness, Generator):
        every_PC = probs_MC.new_ones(hidden_BN.numel(), probs_MC.shape[1])
        every_PC[hidden_BN.flatten()] = probs_MC
        return torch.multinomial(every_PC, 1, generator=randomness)[:, 0][hidden_BN.flatten()]
    uniform_M1 = draw_uniform(hidden_BN.shape, randomness, probs_MC.device)[hidden_BN][:, None]
    sums_MC = probs_MC.cumsum(dim=-1)
    whole_M1 = sums_MC[:, -1:]
    # Rounding may lift the product to the whole sum, which no code reaches beyond.
    aim_M1 = torch.minimum(uniform_M1 * whole_M1, whole_M1.nextafter(torch.zeros_like(whole_M1)))
    return torch.searchsorted(sums_MC, aim_M1, right=True)[:, 0]


def draw_uniform(shape: Sequence[int], randomness: Randomness, device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1), float32 [B, N]."""
    if isinstance(randomness, Generator):
        return torch.rand(*shape, generator=randomness, device=device)
    return torch.stack([torch.rand(shape[1], generator=generator, device=device) for generator in randomness])


def least_confident(probs_BN: Tensor, counts_B1: Tensor, temperature: float | Tensor, randomness: Randomness) -> Tensor:
    """The `counts_B1` (int64 [B, 1]) least confident places of each row, bool [B, N].

    Confidence is log probability (float32 [B, N]) plus Gumbel noise scaled by `temperature`, one for all rows or
    float32 [B, 1]; ties at the cut are kept.
    """
    uniform_BN = draw_uniform(probs_BN.shape, randomness, probs_BN.device)
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
    probs_MC: Tensor,
    current_BN: Tensor,
    hide_B1: Tensor,
    noise: float | Tensor,
    randomness: Randomness,
) -> tuple[Tensor, Tensor]:
    """One step of rows that may be at different steps: (sampled codes int64 [B, N], those of them to hide bool [B, N]).

    probs_MC    float32 [M, C] of the M places that are HIDDEN in current_BN (int64 [B, N]), row after row
    hide_B1     int64 [B, 1], the schedule's number; at least one place is hidden again and at most all but one
    noise       the schedule's temperature, one for all rows or float32 [B, 1]
    """
    hidden_BN = current_BN == HIDDEN
    drawn_M = draw_codes(probs_MC, hidden_BN, randomness)
    sampled_BN = current_BN.masked_scatter(hidden_BN, drawn_M)
    known_BN = probs_MC.new_full(current_BN.shape, torch.finfo(probs_MC.dtype).max)
    chosen_BN = known_BN.masked_scatter(hidden_BN, probs_MC.gather(1, drawn_M[:, None]))
    # At least one place is hidden again, even after the last step, where it is of no consequence.
    counts_B1 = torch.minimum(hidden_BN.sum(1, keepdim=True) - 1, hide_B1).clamp(min=1)
    return sampled_BN, least_confident(chosen_BN, counts_B1, noise, randomness)


def decode(
    logits_of: Callable[[Tensor], Tensor],
    start_BN: Tensor,
    steps: int,
    temperature: float,
    randomness: Randomness,
    trace: Sequence[int] = (),
) -> tuple[Tensor, dict[int, Tensor]]:
    """Decode `start_BN` (int64 [B, N], HIDDEN where unknown) to codes int64 [B, N].

    logits_of      codes int64 [B, N] to logits float32 [M, C] of the M places that are HIDDEN in them, row after row;
                   guidance is its business
    trace          1-based steps whose sampled codes, before hiding again, are returned by step

    Known codes of `start_BN` stay as they are (inpainting); the schedule counts all N places, as published.
    """
    B, N = start_BN.shape
    current_BN, sampled_BN = start_BN, start_BN
    traced: dict[int, Tensor] = {}
    schedule = Schedule.of(steps, temperature, N)
    for step, (hide, noise) in enumerate(zip(schedule.hide, schedule.noise, strict=True)):
        probs_MC = logits_of(current_BN).softmax(dim=-1)
        hide_B1 = torch.full((B, 1), hide, device=start_BN.device)
        sampled_BN, hidden_BN = advance(probs_MC, current_BN, hide_B1, noise, randomness)
        if step + 1 in trace:
            traced[step + 1] = sampled_BN
        current_BN = sampled_BN.masked_fill(hidden_BN, HIDDEN)
    return sampled_BN, traced


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=TINY).log()
