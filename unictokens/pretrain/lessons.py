"""What the base is taught about a drawn photo: drawing it from a caption, and answering questions about it.

A lesson is a plain sample of the backbone protocol, so that the base learns exactly the sequences concepts use later.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unictokens.backbones.base import GenerationSample, MaskDraw, Turn, UnderstandingSample
from unictokens.data.toyland import Photo, caption, fact_questions, questions
from unictokens.pretrain.pool import photo_of

NO_PHOTO_SHARE = 0.06
"""Share of conversations that are about the black placeholder, as text-only questions are in concept data."""


@dataclass(frozen=True, eq=False)
class Lessons:
    """A seeded supply of samples over coded photos.

    codes_PN   int16 [P, N]  codes of photo p, which is drawn from seed p
    black_N    int64 [N]     codes of the black placeholder
    text_room  text ids a conversation may have; it ends before the first turn that does not fit
    length     counts the text ids of a turn
    """

    codes_PN: np.ndarray
    black_N: Tensor
    text_room: int
    length: Callable[[Turn], int]

    def _pick(self, rng: np.random.Generator) -> tuple[Photo, Tensor]:
        seed = int(rng.integers(len(self.codes_PN)))
        return photo_of(seed), torch.from_numpy(self.codes_PN[seed].astype(np.int64))

    def drawing(self, rng: np.random.Generator, condition_dropout: float) -> tuple[GenerationSample, MaskDraw]:
        """One caption with its photo, and the codes that are hidden in this lesson."""
        photo, codes_N = self._pick(rng)
        hidden = max(1, round(len(codes_N) * float(np.cos(0.5 * np.pi * rng.random()))))
        masked_N = torch.from_numpy(rng.random(len(codes_N)).argsort() < hidden)
        dropped = bool(rng.random() < condition_dropout)
        return GenerationSample(codes_N, (caption(photo, rng),)), MaskDraw(masked_N, dropped)

    def conversation(self, rng: np.random.Generator) -> UnderstandingSample:
        """As many shuffled questions about one photo, or about stated facts, as fit the text room."""
        photo, codes_N = self._pick(rng)
        asked = questions(photo, rng)
        if rng.random() < NO_PHOTO_SHARE:
            asked, codes_N = fact_questions(photo, rng), self.black_N
        turns: list[Turn] = []
        room = self.text_room
        for at in rng.permutation(len(asked)):
            turn = Turn((asked[at].question,), (asked[at].answer,))
            room -= self.length(turn)
            if room < 0 and turns:
                break
            turns.append(turn)
        return UnderstandingSample(codes_N, tuple(turns))
