"""The texts that the small base's text tokenizer is learned from."""

from collections.abc import Callable, Iterable

import numpy as np

from unictokens.data.toyland import Photo, Question, caption, fact_questions, questions, residents
from unictokens.pretrain.pool import photo_of

NAMED = 150
"""How often each resident's name stands in the corpus of the text tokenizer."""


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
    for name in residents():  # as often as it takes for each name to become one id
        yield from [f"Who is {name}?"] * NAMED
