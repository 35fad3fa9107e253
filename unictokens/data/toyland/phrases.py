"""Words for what a photo shows: noun phrases, descriptions, captions. None of them names a fine feature."""

from dataclasses import dataclass, replace

import numpy as np

from unictokens.data.toyland.world import (
    CLASSES,
    COLOURS,
    PATTERNS,
    PERSONS,
    Fact,
    Photo,
    Subject,
    kind_of,
    pick,
)

PLACE_PHRASES = {
    "beach": "at the beach",
    "forest": "in the forest",
    "city": "in the city",
    "snow": "in the snow",
    "kitchen": "in the kitchen",
    "meadow": "in the meadow",
}
PATTERN_NOUNS = {"striped": "stripes", "spotted": "spots", "checked": "checks"}


@dataclass(frozen=True)
class Traits:
    """What a description may say. For persons `colour` is hair and `second`, `pattern` are the shirt.

    `pattern` None leaves coat or shirt unsaid.
    """

    cls: str
    colour: str
    second: str | None = None
    pattern: str | None = None

    def without_coat(self) -> "Traits":
        """The same without pattern and second colour."""
        return replace(self, second=None, pattern=None)


def traits_of(photo: Photo) -> Traits:
    """All traits a photo shows."""
    return Traits(photo.subject.cls, photo.subject.colour, photo.second, photo.pattern)


def subject_traits(subject: Subject) -> Traits:
    """The traits a subject has in every photo (a person's shirt is not among them)."""
    return Traits(subject.cls, subject.colour, subject.second, subject.pattern)


def with_article(phrase: str) -> str:
    """`a` or `an` before a phrase."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def possessive(cls: str) -> str:
    """`his`, `her` or `its`."""
    return {"man": "his", "woman": "her"}.get(cls, "its")


def pronoun(cls: str) -> str:
    """`he`, `she` or `it`."""
    return {"man": "he", "woman": "she"}.get(cls, "it")


def sentence(phrase: str) -> str:
    """Capital first letter, full stop."""
    return f"{phrase[0].upper()}{phrase[1:]}."


def description(traits: Traits, rng: np.random.Generator | None = None) -> str:
    """Noun phrase such as `a brown dog with white spots`; `rng` chooses among paraphrases, None takes the first."""
    variant = 0 if rng is None else int(rng.integers(2))
    if traits.cls in PERSONS:
        hair = f"a {traits.cls} with {traits.colour} hair" if variant == 0 else f"a {traits.colour}-haired {traits.cls}"
        hair = hair if variant == 0 else with_article(hair[2:])
        if traits.pattern is None or traits.second is None:
            return hair
        weave = "" if traits.pattern == "plain" and variant == 0 else f"{traits.pattern} "
        joint = " and" if variant == 0 else " in"
        return f"{hair}{joint} {with_article(f'{traits.second} {weave}shirt')}"
    if traits.pattern is None:
        return with_article(f"{traits.colour} {traits.cls}")
    if traits.pattern == "plain":
        return with_article(f"plain {traits.colour} {traits.cls}")
    if variant == 1:
        return with_article(f"{traits.colour} {traits.cls} {traits.pattern} in {traits.second}")
    return with_article(f"{traits.colour} {traits.cls} with {traits.second} {PATTERN_NOUNS[traits.pattern]}")


def accessory_phrase(accessory: str, colour: str) -> str:
    """`a red hat`."""
    return with_article(f"{colour} {accessory}")


def full_description(photo: Photo) -> str:
    """Everything words can say about a photo, always in the same words and order."""
    phrase = description(traits_of(photo))
    if photo.accessory_colour is not None:
        phrase += f" with {accessory_phrase(photo.accessory, photo.accessory_colour)}"
    return f"{phrase} {PLACE_PHRASES[photo.place]}"


def caption(photo: Photo, rng: np.random.Generator) -> str:
    """A caption that tells the truth about a random part of the nameable attributes, the class always."""
    traits = traits_of(photo)
    if rng.random() < 0.25:
        traits = traits.without_coat()
    bare = rng.random() < 0.1 and traits.pattern is None
    phrase = with_article(traits.cls) if bare else description(traits, rng)
    if photo.accessory_colour is not None and rng.random() < 0.88:
        verb = "with" if photo.accessory == "balloon" or rng.random() < 0.5 else "wearing"
        phrase += f" {verb} {accessory_phrase(photo.accessory, photo.accessory_colour)}"
    if rng.random() < 0.88:
        phrase += f" {PLACE_PHRASES[photo.place]}"
    draw = rng.random()
    if draw < 0.55:
        return f"A photo of {phrase}."
    if draw < 0.85:
        return sentence(phrase)
    if draw < 0.93:
        return f"A picture of {phrase}."
    if draw < 0.96 and kind_of(traits.cls) == "person":
        return f"A photo of {with_article(traits.cls)}'s face in detail."
    return f"A photo of {phrase} in the middle of the photo."


def other_traits(traits: Traits, rng: np.random.Generator) -> Traits:
    """Traits that a photo with `traits` does not show: often one word differs, sometimes several or all."""
    draw = rng.random()
    changes = 1 if draw < 0.6 else 2 if draw < 0.85 else 4
    names = ["cls", "colour"] if traits.pattern is None else ["cls", "colour", "pattern", "second"]
    if traits.pattern == "plain" and traits.cls not in PERSONS:
        names.remove("second")
    chosen = {names[at] for at in rng.permutation(len(names))[:changes]}
    cls = _other_class(traits.cls, traits.pattern is None, rng) if "cls" in chosen else traits.cls
    colour = pick(rng, COLOURS, (traits.colour, traits.second)) if "colour" in chosen else traits.colour
    pattern = pick(rng, PATTERNS, (traits.pattern,)) if "pattern" in chosen else traits.pattern
    second = pick(rng, COLOURS, (colour, traits.second)) if "second" in chosen else traits.second
    return Traits(cls, colour, second, pattern)


def _other_class(cls: str, bare: bool, rng: np.random.Generator) -> str:
    # A coat is worded for persons and for the rest in different ways, so a full description stays on its side.
    if bare:
        return pick(rng, CLASSES, (cls,))
    if cls in PERSONS:
        return pick(rng, PERSONS, (cls,))
    return pick(rng, CLASSES, (cls, *PERSONS))


def fact_statement(name: str, fact: Fact) -> str:
    """`<bo> has a red hat.` or `<bo> lives at the beach.`"""
    if fact.accessory is not None and fact.colour is not None:
        return f"{name} has {accessory_phrase(fact.accessory, fact.colour)}."
    if fact.place is not None:
        return f"{name} lives {PLACE_PHRASES[fact.place]}."
    raise ValueError(f"a fact says neither what is owned nor where one lives: {fact}")
