"""The twenty concepts of a Toyland dataset: ten persons, five pets, five objects, with facts no photo shows."""

from dataclasses import replace

import numpy as np

from unictokens.data.toyland.world import (
    COLOURS,
    OBJECTS,
    PERSONS,
    PETS,
    Photo,
    Subject,
    random_facts,
    random_photo,
    random_subject,
)
from unictokens.errors import ConfigError

NAMES = (
    *("bo", "miru", "tavo", "nilu", "kesa", "dano", "rilo", "suma", "pevi", "lako"),
    *("zuri", "fenu", "goma", "vipa", "teko", "nabi", "rusa", "molu", "desi", "bafu"),
)
KINDS = (
    *("pet", "person", "object", "pet", "person", "person", "object", "person", "pet", "person"),
    *("person", "object", "pet", "person", "person", "object", "person", "pet", "person", "object"),
)
"""Kind of each name, mixed so that the first few are a small world of their own."""
CLASSES_OF_KIND = {"person": PERSONS, "pet": PETS, "object": OBJECTS}


def roster(seed: int, count: int = len(NAMES)) -> list[Subject]:
    """The first `count` concepts; who they are depends on `seed` and on their place only, never on `count`.

    Classes take turns within a kind and main colours are dealt out evenly, so that no class and colour come twice.
    Raises ConfigError for a count outside 1..20.
    """
    if not 1 <= count <= len(NAMES):
        raise ConfigError(f"cannot make {count} concepts: choose 1 to {len(NAMES)}")
    deal = np.random.default_rng((seed, 0, 1))
    colours = {cls: list(deal.permutation(COLOURS)) for classes in CLASSES_OF_KIND.values() for cls in classes}
    turns = dict.fromkeys(CLASSES_OF_KIND, 0)
    subjects = []
    for at, (name, kind) in enumerate(zip(NAMES[:count], KINDS, strict=False)):
        rng = np.random.default_rng((seed, at, 2))
        classes = CLASSES_OF_KIND[kind]
        cls = classes[turns[kind] % len(classes)]
        turns[kind] += 1
        colour = str(colours[cls].pop())
        subject = random_subject(rng, cls, name)
        while colour == subject.second:
            subject = random_subject(rng, cls, name)
        subjects.append(replace(subject, colour=colour, facts=random_facts(rng, 2 if at % 2 == 0 else 1)))
    return subjects


def strangers(seed: int, count: int) -> list[Photo]:
    """Photos of subjects that share class and main colour with no concept of this seed: random negatives."""
    taken = {(subject.cls, subject.colour) for subject in roster(seed)}
    rng = np.random.default_rng((seed, 0, 3))
    photos: list[Photo] = []
    while len(photos) < count:
        subject = random_subject(rng)
        if (subject.cls, subject.colour) not in taken:
            photos.append(random_photo(rng, subject))
    return photos
