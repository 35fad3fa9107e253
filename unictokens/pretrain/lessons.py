"""What the base is taught about a drawn photo, as sequences of Show-o: drawing it from a caption, answering questions.

Every lesson follows from (seed, step) alone, so a resumed training goes on as if it had never stopped.
"""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.showo.attention import drawing_mask, packed_mask
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.concepts.prompt import Prompt, fill
from unictokens.data.toyland import (
    Photo,
    Question,
    caption,
    fact_questions,
    questions,
    resident_caption,
    resident_facts,
    resident_questions,
    residents,
)
from unictokens.data.toyland.residents import is_resident, named_caption
from unictokens.data.toyland.world import Subject, random_facts
from unictokens.pretrain.attributes import SIZES, UNSEEN, attributes_of, attributes_of_subject
from unictokens.pretrain.examples import example_row
from unictokens.pretrain.individuals import Held, Individual, individual
from unictokens.pretrain.introduced import introduced_facts, introduced_questions, shown_facts
from unictokens.pretrain.pool import companion_photo_of, photo_of, resident_photo_of
from unictokens.pretrain.recipe import LanguageRecipe
from unictokens.sampling.maskgit import training_mask

NO_PHOTO_SHARE = 0.1
"""Share of conversations that are about the black placeholder, as text-only questions are in concept data."""
WORD = re.compile(r"[A-Za-z]+")
STRANGERS = 0.15
"""Share of conversations about an individual whose photo shows a stranger; of the others, 40 % show a lookalike."""
START_SHARE = 0.5
"""Share of conversations with a start-of-text id after the image: training data of concepts has none, inference has."""


STEP = 32
"""Rows of examples have a multiple of so many text ids."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences of one kind: ids and labels int64 [B, T] (labels say what stands at a place).

    held         what the rows of individuals hold, one individual per sequence

    For conversations only: turns_BT int64 [B, T], the turn each place belongs to (see `_Talk`); positions_BT int64 [B, T], as packed turns each begin where the text begins; attributes_BA
    int64 [B, A], the photos' class numbers, -100 where there is no photo; meets_M2 int64 [M, 2], (row, place) from which
    yes or no is said about somebody in a photo, and known_MA int64 [M, A], the class numbers of whom it is said about.
    """

    ids_BT: Tensor
    labels_BT: Tensor
    held: Held
    turns_BT: Tensor | None = None
    positions_BT: Tensor | None = None
    attributes_BA: Tensor | None = None
    meets_M2: Tensor | None = None
    known_MA: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Talk:
    """A conversation as a row: ids, labels, the number of the turn that each place belongs to, and where somebody is met.

    turns     -1 before the text, -2 behind it
    meetings  place from which a recognition question is answered -> whom it is about
    """

    ids: list[int]
    labels: list[int]
    turns: list[int]
    meetings: dict[int, Subject]


@dataclass(frozen=True, eq=False)
class _Topic:
    """Questions, the codes of what they are about, the photo (None for the black placeholder), and whom rows stand for."""

    asked: list[Question]
    codes_N: Tensor
    photo: Photo | None
    met: Individual | None = None


@dataclass(frozen=True, eq=False)
class Lessons:
    """A seeded supply of batches over coded photos.

    codes_PN  int16 [P, N]  codes of the photo of anybody that is drawn from seed p
    other_PN  int16 [P, N]  codes of the first of these photos' companions
    known_PN  int16 [P, N]  codes of the photo of a resident or lookalike that is drawn from seed p
    black_N   int64 [N]     codes of the black placeholder
    """

    sequences: Sequences
    recipe: LanguageRecipe
    codes_PN: np.ndarray
    other_PN: np.ndarray
    known_PN: np.ndarray
    black_N: Tensor

    def drawings(self, step: int) -> Batch:
        """Captions with photos whose codes are partly hidden; labels are the hidden codes and both image ends."""
        rng = np.random.default_rng((self.recipe.seed, step, 0))
        drawn = [self._drawing(rng) for _ in range(self.recipe.batch_generation)]
        ids_BT, labels_BT = _stack([row for row, _ in drawn])
        return Batch(ids_BT, labels_BT, Held.of([met for _, met in drawn], self.recipe.width, rng))

    def conversations(self, step: int) -> Batch:
        """Photos, each with as many questions as fit the text room; labels are the answers."""
        rng = np.random.default_rng((self.recipe.seed, step, 1))
        topics = [self._topic(rng) for _ in range(self.recipe.batch_understanding)]
        talks, attributes, meets, known = [], [], [], []
        for row, topic in enumerate(topics):
            talk = self._conversation(topic, rng)
            talks.append(talk)
            if topic.photo is None:
                attributes.append([UNSEEN] * len(SIZES))
                continue
            attributes.append(attributes_of(topic.photo))
            meets += [(row, place) for place in talk.meetings]
            known += [attributes_of_subject(subject) for subject in talk.meetings.values()]
        ids_BT, labels_BT = _stack([(talk.ids, talk.labels) for talk in talks])
        turns_BT = torch.tensor([talk.turns for talk in talks])
        return Batch(
            ids_BT,
            labels_BT,
            Held.of([topic.met for topic in topics], self.recipe.width, rng),
            turns_BT,
            packed_positions(self.prefix, turns_BT),
            torch.tensor(attributes),
            torch.tensor(meets, dtype=torch.long).reshape(-1, 2),
            torch.tensor(known, dtype=torch.long).reshape(-1, len(SIZES)),
        )

    def examples(self, step: int) -> Batch:
        """Questions about no photo behind examples of how such questions are answered; labels are all these answers."""
        rng = np.random.default_rng((self.recipe.seed, step, 2))
        made = [
            self._started(*example_row(self.sequences, self.recipe.examples_room - 1, rng), rng)
            for _ in range(self.recipe.batch_examples)
        ]
        # Matrix kernels are made per shape, and every new shape would cost time and memory.
        room = STEP * math.ceil(max(len(ids) for ids, _ in made) / STEP)
        prefix, pad = self.sequences.image_prefix(self.sequences.code_ids(self.black_N)), self.sequences.vocabulary.pad
        rows = [
            (prefix + ids + [pad] * (room - len(ids)), [IGNORE] * len(prefix) + labels + [IGNORE] * (room - len(ids)))
            for ids, labels in made
        ]
        turns_BT = torch.tensor([[-1] * len(prefix) + [0] * len(ids) + [-2] * (room - len(ids)) for ids, _ in made])
        ids_BT, labels_BT = _stack(rows)
        held = Held.of([None] * len(rows), self.recipe.width, rng)
        return Batch(ids_BT, labels_BT, held, turns_BT, packed_positions(self.prefix, turns_BT))

    def batches(self, step: int) -> tuple[Batch, ...]:
        """All of a step: drawings, conversations and, if the recipe has any, examples."""
        examples = (self.examples(step),) if self.recipe.batch_examples else ()
        return self.drawings(step), self.conversations(step), *examples

    def mask(self, batch: Batch) -> Tensor:
        """Who sees whom in a batch, bool [B, 1, T, T], on the device of its ids; too large to be sent between processes."""
        if batch.turns_BT is not None:
            return packed_mask(self.prefix, batch.turns_BT)
        vocabulary = self.sequences.vocabulary
        return drawing_mask(batch.ids_BT, vocabulary.pad, vocabulary.soi, vocabulary.eoi)

    def names(self) -> Tensor:
        """Class numbers of the residents by the ids of their names, int64 [V, A]; UNSEEN in all other rows."""
        names_VA = torch.full((self.sequences.vocabulary.size, len(SIZES)), UNSEEN)
        for name, subject in residents().items():
            ids = self.sequences.text((f" {name}",))
            if len(ids) == 1:  # a small vocabulary may have no id for it
                names_VA[ids[0]] = torch.tensor(attributes_of_subject(subject))
        return names_VA

    @property
    def prefix(self) -> int:
        """Ids before the text of a conversation: task, image and its two ends."""
        return len(self.black_N) + 3

    def _started(self, ids: list[int], labels: list[int], rng: np.random.Generator) -> tuple[list[int], list[int]]:
        start = [self.sequences.vocabulary.eot] if rng.random() < START_SHARE else []
        return start + ids, [IGNORE] * len(start) + labels

    def _pick(self, rng: np.random.Generator, resident: bool) -> tuple[Photo, Tensor]:
        codes_PN = self.known_PN if resident else self.codes_PN
        seed = int(rng.integers(len(codes_PN)))
        return (resident_photo_of if resident else photo_of)(seed), torch.from_numpy(codes_PN[seed].astype(np.int64))

    def _topic(self, rng: np.random.Generator) -> _Topic:
        individual, blind = rng.random() < self.recipe.individuals, rng.random() < NO_PHOTO_SHARE
        resident = rng.random() < self.recipe.residents
        if individual:
            photo, codes_N, met = self._meet(rng)
            if blind:
                return _Topic(introduced_facts(met.subject, rng), self.black_N, None, met)
            return _Topic(introduced_questions(photo, met.subject, rng), codes_N, photo, met)
        if blind and resident:
            return _Topic(resident_facts(rng), self.black_N, None)
        photo, codes_N = self._pick(rng, resident)
        if blind:
            return _Topic(fact_questions(photo, rng), self.black_N, None)
        return _Topic((resident_questions if resident else questions)(photo, rng), codes_N, photo)

    def _meet(self, rng: np.random.Generator) -> tuple[Photo, Tensor, Individual]:
        """A photo of anybody, its codes, and an individual: the one who is shown, a lookalike, or a stranger."""
        seed = int(rng.integers(len(self.other_PN)))
        photo, codes_N = photo_of(seed), torch.from_numpy(self.codes_PN[seed].astype(np.int64))
        about = int(rng.integers(len(self.other_PN))) if rng.random() < STRANGERS else seed
        subject = replace(companion_photo_of(about).subject, facts=random_facts(rng, 2))
        return photo, codes_N, self._rows(subject, self.other_PN[about], rng)

    def _rows(self, subject: Subject, seen_N: np.ndarray | None, rng: np.random.Generator) -> Individual:
        seen = [] if seen_N is None else (seen_N.astype(np.int64) + self.sequences.vocabulary.code_offset).tolist()
        return individual(subject, self.sequences.text((subject.cls,)), seen, rng)

    def _drawing(self, rng: np.random.Generator) -> tuple[tuple[list[int], list[int]], Individual | None]:
        if rng.random() < self.recipe.individuals:
            seed = int(rng.integers(len(self.other_PN)))
            photo, codes_N = photo_of(seed), torch.from_numpy(self.codes_PN[seed].astype(np.int64))
            subject, companion = replace(photo.subject, facts=shown_facts(photo, rng)), companion_photo_of(seed)
            met = self._rows(subject, self.other_PN[seed] if companion.subject == photo.subject else None, rng)
            return self._drawn(fill(named_caption(photo, subject, "<x>", rng), met.drawn), codes_N, rng), met
        resident = rng.random() < self.recipe.residents
        photo, codes_N = self._pick(rng, resident)
        named = resident and is_resident(photo) and rng.random() < 0.85
        return self._drawn(((resident_caption if named else caption)(photo, rng),), codes_N, rng), None

    def _drawn(self, told: Prompt, codes_N: Tensor, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Ids and labels of a caption and a photo whose codes are partly hidden."""
        sequences, vocabulary = self.sequences, self.sequences.vocabulary
        time_B, order_BN = torch.from_numpy(rng.random(1)), torch.from_numpy(rng.random((1, len(codes_N))))
        hidden = training_mask(time_B, order_BN)[0].tolist()
        text = [] if rng.random() < self.recipe.condition_dropout else sequences.text(told)
        text = [vocabulary.t2i, vocabulary.eot, *text[: self.recipe.caption_room], vocabulary.eot]
        padding = self.recipe.caption_room + 3 - len(text)
        known = sequences.code_ids(codes_N)
        mask = vocabulary.mask
        shown = [mask if hide else code for hide, code in zip(hidden, known, strict=True)]
        asked = [code if hide else IGNORE for hide, code in zip(hidden, known, strict=True)]
        ids = [vocabulary.pad] * padding + text + sequences.image(shown)
        return ids, [IGNORE] * (padding + len(text)) + [vocabulary.soi, *asked, vocabulary.eoi]

    def _conversation(self, topic: _Topic, rng: np.random.Generator) -> _Talk:
        vocabulary, room = self.sequences.vocabulary, self.recipe.text_room
        asked, stands = topic.asked, {} if topic.met is None else topic.met.prompt
        size = vocabulary.size
        packed = rng.random() < self.recipe.packed
        start = [vocabulary.eot] if rng.random() < START_SHARE else []
        ids: list[int] = []
        labels: list[int] = []
        turns: list[int] = []
        meetings: dict[int, Subject] = {}
        for number, at in enumerate(rng.permutation(len(asked))):
            turn = (fill(asked[at].question, stands), fill(asked[at].answer, stands))
            more_ids, more_labels = self.sequences.conversation([turn])
            # What the rows of an individual hold is given, not learned, and they have no place in the head.
            more_labels = [IGNORE if label >= size else label for label in more_labels]
            if start and (packed or not ids):
                more_ids, more_labels = start + more_ids, [IGNORE] * len(start) + more_labels
            if len(ids) + len(more_ids) <= room:
                if (met := _met(asked[at], topic.met)) is not None:
                    answer = next(place for place, label in enumerate(more_labels) if label != IGNORE)
                    meetings[self.prefix + len(ids) + answer - 1] = met
                ids, labels = ids + more_ids, labels + more_labels
                turns += [number if packed else 0] * len(more_ids)
        padding = room - len(ids)
        prefix = self.sequences.image_prefix(self.sequences.code_ids(topic.codes_N))
        ids, labels = prefix + ids + [vocabulary.pad] * padding, [IGNORE] * len(prefix) + labels + [IGNORE] * padding
        return _Talk(ids, labels, [-1] * len(prefix) + turns + [-2] * padding, meetings)


def _met(asked: Question, individual: Individual | None) -> Subject | None:
    """Whom a recognition question is about, if it is about somebody with looks beyond words."""
    if asked.kind != "recognition":
        return None
    if individual is not None:
        return individual.subject
    name = next((word for word in WORD.findall(asked.question) if word in residents()), None)
    return None if name is None else residents()[name]


def packed_positions(prefix: int, turns_BT: Tensor) -> Tensor:
    """Positions int64 [B, T]: the text of every turn is counted on from the `prefix` places of task and image."""
    places_T = torch.arange(turns_BT.shape[1])
    begins_BT = functional.pad(turns_BT[:, 1:] != turns_BT[:, :-1], (1, 0), value=True)
    first_BT = torch.where(begins_BT, places_T, 0).cummax(dim=1).values
    return torch.where(places_T < prefix, places_T, places_T - first_BT + prefix)


def _stack(rows: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([ids for ids, _ in rows]), torch.tensor([labels for _, labels in rows])
