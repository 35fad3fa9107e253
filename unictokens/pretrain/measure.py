"""Measure a base on held-out photos: what it answers, and what it says about its own drawings."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unictokens.backbones.base import AnswerRequest, Backbone, Decoding, GenerationRequest, Sampling
from unictokens.concepts.bank import ConceptBank
from unictokens.data.toyland import Photo, Question, full_description, questions, render
from unictokens.images import to_tensor
from unictokens.pretrain.examples import ASKED, KINDS, example
from unictokens.pretrain.pool import POOLS
from unictokens.replay.exemplars import parsing_after

BATCH = 32
SHOWN = (0, 1, 2, 4, 6)
"""Numbers of examples that a base is measured with."""


@dataclass(frozen=True)
class Score:
    """Right answers out of `asked` questions of one kind."""

    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.asked


def held_out_photos(first_seed: int, count: int, pool: str = "strangers") -> list[Photo]:
    """Photos no training pool contains: the pools use small seeds only."""
    return [POOLS[pool](first_seed + at) for at in range(count)]


def encode_photos(backbone: Backbone, photos: Sequence[Photo]) -> Tensor:
    """Codes int64 [P, N] of drawn photos."""
    size = backbone.info.image_size
    parts = [
        backbone.encode(torch.stack([to_tensor(render(photo, size)) for photo in photos[at : at + BATCH]]))
        for at in range(0, len(photos), BATCH)
    ]
    return torch.cat(parts)


Ask = Callable[[Photo, np.random.Generator], list[Question]]
"""Makes all questions about a photo, as `toyland.questions` does."""


def one_of_each_kind(photo: Photo, seed: int, ask: Ask = questions) -> list[Question]:
    """One random question of every kind that `ask` has for a photo."""
    rng = np.random.default_rng((seed, 7))
    by_kind: dict[str, list[Question]] = defaultdict(list)
    for question in ask(photo, rng):
        if question.kind == "named":  # these carry their answer
            continue
        by_kind[question.kind].append(question)
    return [kind[int(rng.integers(len(kind)))] for kind in by_kind.values()]


def understanding_scores(
    backbone: Backbone,
    photos: Sequence[Photo],
    codes_PN: Tensor,
    kinds: frozenset[str] | None = None,
    ask: Ask = questions,
) -> dict[str, Score]:
    """Accuracy per kind of question; an answer is right when it is the grammar's, letter case aside.

    For "recognition" and "yesno" the first word decides, as a listener would.
    """
    asked = [
        (question, codes_N)
        for at, (photo, codes_N) in enumerate(zip(photos, codes_PN, strict=True))
        for question in one_of_each_kind(photo, at, ask)
        if kinds is None or question.kind in kinds
    ]
    bank = ConceptBank.empty(backbone.info.width)
    answers: list[str] = []
    for at in range(0, len(asked), BATCH):
        requests = [AnswerRequest((question.question,), codes_N) for question, codes_N in asked[at : at + BATCH]]
        answers.extend(backbone.answer(requests, bank, Decoding(max_tokens=40)))
    right: dict[str, list[bool]] = defaultdict(list)
    for (question, _), answer in zip(asked, answers, strict=True):
        right[question.kind].append(agrees(question, answer))
    return {kind: Score(sum(marks), len(marks)) for kind, marks in sorted(right.items())}


def agrees(question: Question, answer: str) -> bool:
    """Whether an answer counts as right (see `understanding_scores`)."""
    said, truth = answer.strip().lower(), question.answer.strip().lower()
    if question.kind in ("recognition", "yesno"):
        return said.split(",")[0].split(".")[0] == truth.split(",")[0].split(".")[0]
    return said == truth


def following_scores(backbone: Backbone, first_seed: int, requests: int) -> dict[str, Score]:
    """Questions that a base asks for drawing requests, by how many examples it is shown; right is what replay would ask.

    Examples and requests are of kinds, names and things at random, all by the conventions of replay.
    """
    bank = ConceptBank.empty(backbone.info.width)
    scores = {}
    for count in SHOWN:
        rng = np.random.default_rng((first_seed, count))
        made = [
            [example(KINDS[int(rng.integers(len(KINDS)))], dict.fromkeys(ASKED, 0), rng) for _ in range(count + 1)]
            for _ in range(requests)
        ]
        said: list[str] = []
        for at in range(0, requests, BATCH):
            told = [parsing_after(shown, last.request) for *shown, last in made[at : at + BATCH]]
            said += backbone.answer([AnswerRequest((text,)) for text in told], bank, Decoding(max_tokens=40))
        right = sum(answer.strip() == last.question for answer, (*_, last) in zip(said, made, strict=True))
        scores[f"{count} example{'s' * (count != 1)}"] = Score(right, requests)
    return scores


def draw_descriptions(backbone: Backbone, photos: Sequence[Photo], sampling: Sampling, seed: int) -> Tensor:
    """Codes int64 [P, N] of what the base draws for the full description of each photo."""
    bank = ConceptBank.empty(backbone.info.width)
    texts = [f"A photo of {full_description(photo)}." for photo in photos]
    drawn: list[Tensor] = []
    for at in range(0, len(texts), BATCH):
        requests = [GenerationRequest((text,), seed + at + i) for i, text in enumerate(texts[at : at + BATCH])]
        drawn.extend(drawing.codes_N for drawing in backbone.generate(requests, bank, sampling))
    return torch.stack(drawn)
