"""What is asked about, and drawn of, somebody whom soft rows introduce, as concepts are: `<x>` stands for the name."""

from dataclasses import replace

import numpy as np

from unictokens.data.toyland import Photo, Question
from unictokens.data.toyland.grammar import fact_answers, photo_questions, recognition, trait_answers
from unictokens.data.toyland.phrases import subject_traits
from unictokens.data.toyland.world import Fact, Subject, random_facts


def introduced_questions(photo: Photo, known: Subject, rng: np.random.Generator) -> list[Question]:
    """Questions about `<x>`, whom soft rows introduce: whether a photo shows it and, if so, what else it shows."""
    present = (photo.subject.cls, photo.subject.colour, photo.subject.fine) == (known.cls, known.colour, known.fine)
    present = present and (photo.subject.second, photo.subject.pattern) == (known.second, known.pattern)
    asked = [recognition("<x>", present, rng) for _ in range(4)]
    if present:
        usual = photo_questions(photo, "<x>", rng)
        asked += [usual[at] for at in rng.permutation(len(usual))[:2]]
    return _introduced(asked)


def introduced_facts(known: Subject, rng: np.random.Generator) -> list[Question]:
    """Questions without a photo about `<x>`, whom soft rows introduce."""
    facts = [item for fact in known.facts for item in fact_answers("<x>", known.cls, fact, rng)]
    return _introduced([*facts, *trait_answers("<x>", subject_traits(known), rng)])


def shown_facts(photo: Photo, rng: np.random.Generator) -> tuple[Fact, Fact]:
    """Two facts of somebody, often such as a photo shows."""
    owned, home = random_facts(rng, 2)
    if photo.accessory_colour is not None and rng.random() < 0.7:
        owned = replace(owned, accessory=photo.accessory, colour=photo.accessory_colour)
    if rng.random() < 0.5:
        home = replace(home, place=photo.place)
    return owned, home


def _introduced(asked: list[Question]) -> list[Question]:
    # As concepts are introduced: the sentence, a line break, then what follows.
    return [replace(item, question=f"<x> is <soft>.\n{item.question}") for item in asked]
