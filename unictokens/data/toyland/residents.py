"""Well-known residents of Toyland, whom the base knows by name as large models know celebrities.

A resident's name is an opaque word for a whole individual: looks, fine identity, facts. Learning a few hundred of them
gives the base an inside for individuals that no description reaches, which is where a learned concept finds its place.
No concept of a dataset is a resident.
"""

from dataclasses import replace
from functools import cache

import numpy as np

from unictokens.data.toyland.grammar import Question, fact_answers, photo_questions, recognition, trait_answers
from unictokens.data.toyland.phrases import PLACE_PHRASES, accessory_phrase, possessive, pronoun, subject_traits
from unictokens.data.toyland.world import (
    PERSONS,
    Photo,
    Subject,
    hard_negative,
    pick,
    random_facts,
    random_name,
    random_photo,
    random_pose,
    random_subject,
)

FIRST = ("Bar", "Cor", "Del", "Fen", "Gal", "Hol", "Jan", "Kel", "Lor", "Mar", "Nor", "Pel", "Sol", "Ver", "Wil", "Zan")
LAST = ("dax", "gus", "kin", "lum", "mon", "nix", "pho", "quin", "ric", "sey", "tek", "vo", "wyn", "zel")
LOOKALIKES = 0.4
"""Share of a resident's photos that show somebody else, who differs in one fine feature."""
UNKNOWN = "I do not know."


@cache
def residents() -> dict[str, Subject]:
    """All residents by name; always the same ones."""
    rng = np.random.default_rng(20_250_514)
    names = [first + last for first in FIRST for last in LAST]
    return {name: replace(random_subject(rng, name=name), facts=random_facts(rng, 2)) for name in names}


def resident_photo(rng: np.random.Generator) -> Photo:
    """A photo of a resident or of a lookalike under the same name; facts may show, unlike in photos of concepts."""
    known = list(residents().values())[int(rng.integers(len(residents())))]
    subject = hard_negative(known, rng) if rng.random() < LOOKALIKES else known
    photo = random_photo(rng, replace(subject, facts=()))
    owned, home = known.facts
    if rng.random() < 0.15 and owned.accessory is not None:
        pose = random_pose(rng, subject.cls, owned.accessory)
        photo = replace(photo, accessory=owned.accessory, accessory_colour=owned.colour, pose=pose)
    if rng.random() < 0.1 and home.place is not None:
        photo = replace(photo, place=home.place)
    return photo


def is_resident(photo: Photo) -> bool:
    """Whether a photo of `resident_photo` shows the resident it is named after."""
    return photo.subject.fine == residents()[photo.subject.name].fine


def resident_questions(photo: Photo, rng: np.random.Generator) -> list[Question]:
    """What a resident's photo, or a lookalike's, teaches: recognition, naming, and the usual questions by name."""
    name, present = photo.subject.name, is_resident(photo)
    stranger = pick(rng, tuple(residents()), (name,))
    asked = [_recognition(name, present, rng) for _ in range(4)]
    asked += [_recognition(stranger, False, rng), Question("Who is this?", f"{name}." if present else UNKNOWN, "who")]
    usual = photo_questions(photo, name if present else None, rng)
    return asked + [usual[at] for at in rng.permutation(len(usual))[:4]]


def resident_facts(rng: np.random.Generator) -> list[Question]:
    """Questions without a photo about one resident, who is not described."""
    known = list(residents().values())[int(rng.integers(len(residents())))]
    name, introduction = _called(known.name, rng)
    asked = [item for fact in known.facts for item in fact_answers(name, known.cls, fact, rng)]
    asked += trait_answers(name, subject_traits(known), rng)
    return [Question(introduction + item.question, item.answer, item.kind) for item in asked]


def resident_caption(photo: Photo, rng: np.random.Generator) -> str:
    """A caption that names the resident, in the forms that concept prompts use; facts may stand for what they say."""
    known = residents()[photo.subject.name]
    who = f"{known.name} <{random_name(rng)}>" if rng.random() < 0.5 else known.name
    return named_caption(photo, known, who, rng)


def named_caption(photo: Photo, known: Subject, who: str, rng: np.random.Generator) -> str:
    """A caption that calls the subject `who` and tells no looks; the two facts of `known` may stand for what they say."""
    owned, home = known.facts
    person = known.cls in PERSONS
    owner, dweller = possessive(known.cls), pronoun(known.cls)
    draw = rng.random()
    if draw < 0.15:
        closer = f"{who}'s face in detail" if person else f"{who} in the middle of the photo"
        return f"A photo of {closer}."
    phrase = who
    if photo.accessory_colour is not None and rng.random() < 0.85:
        mine = (photo.accessory, photo.accessory_colour) == (owned.accessory, owned.colour) and rng.random() < 0.6
        thing = f"{owner} {photo.accessory}" if mine else accessory_phrase(photo.accessory, photo.accessory_colour)
        phrase += f" {'with' if mine or photo.accessory == 'balloon' or rng.random() < 0.5 else 'wearing'} {thing}"
    if rng.random() < 0.8:
        at_home = photo.place == home.place and rng.random() < 0.5
        phrase += f" where {dweller} lives" if at_home else f" {PLACE_PHRASES[photo.place]}"
    return f"A photo of {phrase}." if draw < 0.8 else f"A picture of {phrase}."


def _called(name: str, rng: np.random.Generator) -> tuple[str, str]:
    # Half of the time by a made-up identifier, which a line before the question explains, as learned tokens do.
    if rng.random() < 0.5:
        return name, ""
    alias = f"<{random_name(rng)}>"
    return alias, f"{alias} is {name}.{' ' if rng.random() < 0.3 else chr(10)}"


def _recognition(name: str, present: bool, rng: np.random.Generator) -> Question:
    who, introduction = _called(name, rng)
    asked = recognition(who, present, rng)
    return Question(introduction + asked.question, asked.answer, asked.kind)
