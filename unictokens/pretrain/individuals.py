"""Individuals whom the base meets by rows instead of a name, as it will meet learned concepts.

In the embedding space of a large model there are directions for what things look like, and rows that are learned for a concept end
up there. A small base has only what it is taught, so this teaches it: every look and every fact of an individual has a
direction of its own (they are dropped after the training), an individual's rows hold the sum of its directions, spread
over them at random, and embeddings of image codes of another photo, which rows of concepts begin with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.prompt import Prompt, Rows, join
from unictokens.data.toyland.world import ACCESSORIES, COLOURS, PLACES, Subject
from unictokens.pretrain.attributes import SIZES, UNSEEN, attributes_of_subject

FACT_SIZES = (len(ACCESSORIES), len(COLOURS), len(PLACES))
DIRECTIONS = sum(SIZES) + sum(FACT_SIZES)
SOFT = (1, 2, 4, 8, 12)
"""How many soft rows an individual may have beside its identifier."""
ROWS = 1 + max(SOFT)
SIGHTS = 2
"""Ids whose embeddings a row may hold the mean of."""
START = 0.1
"""Standard deviation of new directions: eleven of them together are about two thirds as long as the row of an image code."""
NO_ID = -1


@dataclass(frozen=True, eq=False)
class Individual:
    """A subject and what its rows hold.

    soft       soft rows beside the identifier, which is row 0
    shares_KF  float32 [ROWS, DIRECTIONS]: how much of each direction a row holds
    sights_KS  int64 [ROWS, SIGHTS]: ids whose mean embedding it holds, -1 for none
    noise      standard deviation of what else it holds
    """

    subject: Subject
    soft: int
    shares_KF: np.ndarray
    sights_KS: np.ndarray
    noise: float

    @property
    def prompt(self) -> dict[str, Prompt]:
        """What stands in a question for the name and for the soft rows (`fill`)."""
        return {"x": (Rows((0,)),), "soft": (Rows(tuple(range(1, self.soft + 1))),)}

    @property
    def drawn(self) -> dict[str, Prompt]:
        """What stands for the name in a drawing prompt."""
        return {"x": join(self.prompt["soft"], " ", self.prompt["x"])}


def individual(
    subject: Subject, word_ids: Sequence[int], seen_ids: Sequence[int], rng: np.random.Generator
) -> Individual:
    """Rows for a subject at random.

    word_ids  ids of the class word, with which identifiers of concepts begin
    seen_ids  ids of the image codes of another photo of it, none where there is no such photo
    """
    kind = rng.random()
    told, seen = not len(seen_ids) or kind < 0.8, bool(len(seen_ids)) and kind >= 0.45
    soft = int(rng.choice(SOFT[2:] if seen else SOFT))
    shares_KF = np.zeros((ROWS, DIRECTIONS), dtype=np.float32)
    if told:
        gain, first = rng.uniform(0.8, 1.4), int(rng.random() < 0.5)
        for direction in directions_of(subject):
            parts = int(rng.integers(1, 4))
            for row, part in zip(rng.integers(first, soft + 1, size=parts), rng.dirichlet(np.ones(parts)), strict=True):
                shares_KF[row, direction] += gain * part
    sights_KS = np.full((ROWS, SIGHTS), NO_ID, dtype=np.int64)
    sights_KS[0, : min(SIGHTS, len(word_ids))] = word_ids[:SIGHTS]
    if seen:
        rows = np.arange(1, soft + 1)
        sights_KS[rows, 0] = rng.choice(seen_ids, size=soft)
        sights_KS[rows, 1] = np.where(rng.random(soft) < 0.5, rng.choice(seen_ids, size=soft), NO_ID)
    return Individual(subject, soft, shares_KF, sights_KS, float(rng.uniform(0.0, 0.15)))


def directions_of(subject: Subject) -> list[int]:
    """Numbers of the directions of a subject's looks and facts."""
    facts = [UNSEEN] * len(FACT_SIZES)
    for fact in subject.facts:
        if fact.accessory is not None and fact.colour is not None:
            facts[:2] = ACCESSORIES.index(fact.accessory), COLOURS.index(fact.colour)
        if fact.place is not None:
            facts[2] = PLACES.index(fact.place)
    starts = np.cumsum((0, *SIZES, *FACT_SIZES))
    values = [*attributes_of_subject(subject), *facts]
    return [int(start) + value for start, value in zip(starts, values, strict=False) if value != UNSEEN]


class Noise(NamedTuple):
    """Noise that is drawn where it is needed: most of a batch's bytes are noise, so other processes send only this.

    source  state of numpy's PCG64 before the noise; scales, standard deviation per sequence; width, D
    """

    source: Any
    scales: tuple[float, ...]
    width: int

    def drawn(self) -> Tensor:
        """float32 [B, ROWS, D], the same at every call."""
        generator = np.random.PCG64()
        generator.state = self.source
        noise_BKD = np.random.Generator(generator).standard_normal(
            (len(self.scales), ROWS, self.width), dtype=np.float32
        )
        noise_BKD *= np.array(self.scales, dtype=np.float32)[:, None, None]
        return torch.from_numpy(noise_BKD)


@dataclass(frozen=True, eq=False)
class Held:
    """What the rows of a batch's individuals hold, one of them per sequence (nothing where a sequence has none).

    shares_BKF float32 [B, ROWS, DIRECTIONS]; sights_BKS int64 [B, ROWS, SIGHTS]; noise to draw, or float32 [B, ROWS, D]
    """

    shares_BKF: Tensor
    sights_BKS: Tensor
    noise: Noise | Tensor

    @property
    def noise_BKD(self) -> Tensor:
        """The noise, float32 [B, ROWS, D]."""
        return self.noise.drawn() if isinstance(self.noise, Noise) else self.noise

    @classmethod
    def of(cls, met: Sequence[Individual | None], width: int, rng: np.random.Generator) -> "Held":
        """The rows of those who are met; `rng`, numpy's default generator, gives the noise and must not be used further."""
        shares_BKF = np.zeros((len(met), ROWS, DIRECTIONS), dtype=np.float32)
        sights_BKS = np.full((len(met), ROWS, SIGHTS), NO_ID, dtype=np.int64)
        noise = Noise(rng.bit_generator.state, tuple(0.0 if one is None else one.noise for one in met), width)
        for at, somebody in enumerate(met):
            if somebody is not None:
                shares_BKF[at], sights_BKS[at] = somebody.shares_KF, somebody.sights_KS
        return cls(torch.from_numpy(shares_BKF), torch.from_numpy(sights_BKS), noise)


class Directions(nn.Module):
    """The learned directions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.directions_FD = nn.Parameter(torch.randn(DIRECTIONS, width) * START)

    def forward(self, held: Held, embed_VD: Tensor) -> ConceptBank:
        """A bank of one concept per sequence; its rows take no part in the head. `embed_VD` are the vocabulary's rows."""
        device = embed_VD.device
        shares_BKF, noise_BKD = held.shares_BKF.to(device), held.noise_BKD.to(device)
        sights_BKS = held.sights_BKS.to(device)
        known_BKS1 = (sights_BKS != NO_ID)[..., None].float()
        sights_BKSD = functional.embedding(sights_BKS.clamp(min=0), embed_VD) * known_BKS1
        sights_BKD = sights_BKSD.sum(2) / known_BKS1.sum(2).clamp(min=1)
        embed_BKD = shares_BKF @ self.directions_FD + sights_BKD + noise_BKD
        B, K, D = embed_BKD.shape
        nothing = torch.zeros(B, 0, device=device)
        return ConceptBank(embed_BKD, nothing[..., None].expand(B, 0, D), nothing, torch.full((B,), K, device=device))
