"""What the base is taught about a drawn photo, as sequences of Show-o: drawing it from a caption, answering questions.

Every lesson follows from (seed, step) alone, so a resumed training goes on as if it had never stopped.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unictokens.backbones.showo.attention import drawing_mask, understanding_mask
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.data.toyland import Photo, Question, caption, fact_questions, questions
from unictokens.pretrain.pool import photo_of
from unictokens.pretrain.recipe import LanguageRecipe
from unictokens.sampling.maskgit import training_mask

NO_PHOTO_SHARE = 0.06
"""Share of conversations that are about the black placeholder, as text-only questions are in concept data."""
START_SHARE = 0.5
"""Share of conversations with a start-of-text id after the image: training data of concepts has none, inference has."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences of one kind: ids and labels int64 [B, T] (labels say what stands at a place), mask bool [B or 1, 1, T, T]."""

    ids_BT: Tensor
    labels_BT: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class Lessons:
    """A seeded supply of batches over coded photos.

    codes_PN  int16 [P, N]  codes of photo p, which is drawn from seed p
    black_N   int64 [N]     codes of the black placeholder
    """

    sequences: Sequences
    recipe: LanguageRecipe
    codes_PN: np.ndarray
    black_N: Tensor

    def drawings(self, step: int) -> Batch:
        """Captions with photos whose codes are partly hidden; labels are the hidden codes and both image ends."""
        rng = np.random.default_rng((self.recipe.seed, step, 0))
        rows = [self._drawing(rng) for _ in range(self.recipe.batch_generation)]
        ids_BT, labels_BT = _stack(rows)
        vocabulary = self.sequences.vocabulary
        return Batch(ids_BT, labels_BT, drawing_mask(ids_BT, vocabulary.pad, vocabulary.soi, vocabulary.eoi))

    def conversations(self, step: int) -> Batch:
        """Photos, each with as many questions as fit the text room; labels are the answers."""
        rng = np.random.default_rng((self.recipe.seed, step, 1))
        rows = [self._conversation(rng) for _ in range(self.recipe.batch_understanding)]
        ids_BT, labels_BT = _stack(rows)
        return Batch(ids_BT, labels_BT, understanding_mask(self.codes_PN.shape[1] + 3, ids_BT.shape[1]))

    def _pick(self, rng: np.random.Generator) -> tuple[Photo, Tensor]:
        seed = int(rng.integers(len(self.codes_PN)))
        return photo_of(seed), torch.from_numpy(self.codes_PN[seed].astype(np.int64))

    def _drawing(self, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        photo, codes_N = self._pick(rng)
        sequences, vocabulary = self.sequences, self.sequences.vocabulary
        time_B, order_BN = torch.from_numpy(rng.random(1)), torch.from_numpy(rng.random((1, len(codes_N))))
        hidden = training_mask(time_B, order_BN)[0].tolist()
        told = "" if rng.random() < self.recipe.condition_dropout else caption(photo, rng)
        text = sequences.text((told,)) if told else []
        text = [vocabulary.t2i, vocabulary.eot, *text[: self.recipe.caption_room], vocabulary.eot]
        padding = self.recipe.caption_room + 3 - len(text)
        known = sequences.code_ids(codes_N)
        shown = [vocabulary.mask if hide else code for hide, code in zip(hidden, known, strict=True)]
        asked = [code if hide else IGNORE for hide, code in zip(hidden, known, strict=True)]
        ids = [vocabulary.pad] * padding + text + sequences.image(shown)
        return ids, [IGNORE] * (padding + len(text)) + [vocabulary.soi, *asked, vocabulary.eoi]

    def _conversation(self, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        photo, codes_N = self._pick(rng)
        asked = questions(photo, rng)
        if rng.random() < NO_PHOTO_SHARE:
            asked, codes_N = fact_questions(photo, rng), self.black_N
        vocabulary, room = self.sequences.vocabulary, self.recipe.text_room
        ids: list[int] = [vocabulary.eot] if rng.random() < START_SHARE else []
        labels = [IGNORE] * len(ids)
        for at in rng.permutation(len(asked)):
            more_ids, more_labels = self.sequences.conversation([((asked[at].question,), (asked[at].answer,))])
            if len(ids) + len(more_ids) <= room:
                ids, labels = ids + more_ids, labels + more_labels
        padding = room - len(ids)
        prefix = self.sequences.image_prefix(self.sequences.code_ids(codes_N))
        return prefix + ids + [vocabulary.pad] * padding, [IGNORE] * len(prefix) + labels + [IGNORE] * padding


def _stack(rows: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([ids for ids, _ in rows]), torch.tensor([labels for _, labels in rows])


def corpus(first_seed: int, photos: int) -> Iterable[str]:
    """Every kind of text of Toyland, for the text tokenizer."""
    for seed in range(first_seed, first_seed + photos):
        rng = np.random.default_rng((seed, 3))
        photo = photo_of(seed)
        yield caption(photo, rng)
        kinds: tuple[Callable[[Photo, np.random.Generator], list[Question]], ...] = (questions, fact_questions)
        for kind in kinds:
            for item in kind(photo, rng):
                yield f"USER: {item.question} ASSISTANT:"
                yield f" {item.answer}"
