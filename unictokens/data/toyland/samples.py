"""JSON records of the official dataset layout, filled with the grammar's questions about one concept."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from unictokens.data.toyland.grammar import (
    RECOGNITION,
    Question,
    fact_answers,
    photo_questions,
    recognition,
    trait_answers,
)
from unictokens.data.toyland.phrases import description, fact_statement, possessive, pronoun, subject_traits
from unictokens.data.toyland.world import Photo, Subject

Item = dict[str, Any]
BLACK = "black_512x512.png"
HELD_OUT_WORDINGS = ("In what place does", "Which thing belongs to")
"""Text-only questions that begin so are asked in the test only."""


@dataclass(frozen=True)
class Shot:
    """A photo and its path relative to the dataset root."""

    path: str
    photo: Photo


@dataclass(frozen=True)
class Album:
    """All pictures that one concept's records speak of, training and test.

    told           of the test photos, those that questions beside recognition are about: the first ones
    """

    train: list[Shot]
    hard: list[Shot]
    random: list[Shot]
    test: list[Shot]
    test_hard: list[Shot]
    test_random: list[Shot]
    told: int


def placeholder(subject: Subject) -> str:
    """`<bo>` for the subject `bo`."""
    return f"<{subject.name}>"


def info(subject: Subject) -> Item:
    """The record `info.json`."""
    who = placeholder(subject)
    return {
        "class": subject.cls,
        "info": f"{who} is {description(subject_traits(subject))}.",
        "extra_info": [fact_statement(who, fact) for fact in subject.facts],
        "conversation_type": "human" if subject.kind == "person" else subject.kind,
        "generation_type": "object" if subject.kind == "object" else "live_subject",
    }


def conditions(subject: Subject) -> list[str]:
    """`t2i_conditions.json`: the plain prompt first, then prompts that need to know the facts."""
    who = placeholder(subject)
    owner, dweller = possessive(subject.cls), pronoun(subject.cls)
    prompts = [f"A photo of {who}."]
    for fact in subject.facts:
        told = f"where {dweller} lives" if fact.accessory is None else f"with {owner} {fact.accessory}"
        prompts.append(f"A photo of {who} {told}.")
    return prompts


def recognitions(shots: list[Shot], subject: Subject, present: bool, rng: np.random.Generator) -> list[Item]:
    """One training recognition item per shot."""
    who = placeholder(subject)
    return [_item(shot.path, recognition(who, present, rng)) for shot in shots]


def visual(shots: list[Shot], subject: Subject, each: int, rng: np.random.Generator) -> list[tuple[Shot, Question]]:
    """`each` questions about every shot, no two of one kind about the same shot."""
    asked: list[tuple[Shot, Question]] = []
    for shot in shots:
        options = photo_questions(shot.photo, placeholder(subject), rng)
        kinds: set[str] = set()
        for at in rng.permutation(len(options)):
            if len(kinds) < each and options[at].kind not in (*kinds, "choice"):
                kinds.add(options[at].kind)
                asked.append((shot, options[at]))
    return asked


def conversations(shots: list[Shot], subject: Subject, rng: np.random.Generator) -> dict[str, list[Item]]:
    """`conversations.json`: every question about every training picture."""
    who = placeholder(subject)
    return {
        shot.path: [{"query": item.question, "answer": item.answer} for item in photo_questions(shot.photo, who, rng)]
        for shot in shots
    }


def text_only(subject: Subject, held_out: bool, rng: np.random.Generator) -> list[Question]:
    """Questions without a photo: facts and traits for training, other wordings of the facts and traits for the test."""
    who = placeholder(subject)
    facts = [item for fact in subject.facts for item in fact_answers(who, subject.cls, fact, rng)]
    traits = trait_answers(who, subject_traits(subject), rng)
    if held_out:
        closed = [item for item in facts if not item.question.startswith(("What", "Where", "Which", "In what"))]
        opened = [item for item in facts if item.question.startswith((*HELD_OUT_WORDINGS, "What colour"))]
        return opened + closed + traits[:2]
    return [item for item in facts if not item.question.startswith(HELD_OUT_WORDINGS)] + traits[:2]


def stage_1(album: Album, subject: Subject, rng: np.random.Generator) -> list[Item]:
    """Training items of stages 1 and 2: recognition, questions about photos, text-only questions; mixed order.

    Negatives are random pictures (paper section 3.2 and table 4): what tells a concept from its lookalikes is left to stage 3.
    """
    items = [
        *_balanced(album.train, album.random, subject, rng),
        *(_item(shot.path, item) for shot, item in visual(album.train, subject, 2, rng)),
        *(_item(BLACK, item) for item in text_only(subject, False, rng)),
    ]
    return [items[at] for at in rng.permutation(len(items))]


def stage_3(album: Album, subject: Subject, rng: np.random.Generator) -> list[Item]:
    """Training items of stage 3: mostly recognition, negatives mostly hard; mixed order."""
    items = [
        *_balanced(album.train, album.random[:6] + album.hard, subject, rng),
        *(_item(shot.path, item) for shot, item in visual(album.train, subject, 1, rng)[:6]),
        *(_item(BLACK, item) for item in text_only(subject, False, rng)[:6]),
    ]
    return [items[at] for at in rng.permutation(len(items))]


def _balanced(positives: list[Shot], negatives: list[Shot], subject: Subject, rng: np.random.Generator) -> list[Item]:
    """Recognition items about all shots, positives asked about again until both answers are equally common.

    With the negatives in the majority, saying no to everything is learned before what the concept looks like.
    """
    again = [positives[at % len(positives)] for at in range(max(len(positives), len(negatives)))]
    return recognitions(again, subject, True, rng) + recognitions(negatives, subject, False, rng)


def examination(album: Album, subject: Subject, rng: np.random.Generator) -> list[Item]:
    """`test_data/<C>.json`: recognition, questions about photos, text-only, choice."""
    who = placeholder(subject)
    items: list[Item] = []
    for shots, answer in ((album.test, "Yes."), (album.test_hard, "No."), (album.test_random, "No.")):
        for at, shot in enumerate(shots):
            wording = RECOGNITION[at % len(RECOGNITION)].format(who=who)
            items.append(_test_item(shot.path, Question(wording, answer, "rec"), "rec"))
    told = album.test[: album.told]
    items += [_test_item(shot.path, item, "vqa") for shot, item in visual(told, subject, 2, rng)]
    items += [_test_item(BLACK, item, "text_only") for item in text_only(subject, True, rng)]
    for shot in told:
        offers = [item for item in photo_questions(shot.photo, who, rng) if item.kind == "choice"]
        items += [_test_item(shot.path, item, "choice") for item in offers]
    return items


def _item(path: str, item: Question) -> Item:
    turns = [{"from": "human", "value": f"<image>\n{item.question}"}, {"from": "gpt", "value": item.answer}]
    return {"image": path, "conversations": turns}


def _test_item(path: str, item: Question, kind: str) -> Item:
    return {
        "image": path,
        "type": kind,
        "conversations": [{"value": f"<image>\n{item.question}"}, {"value": item.answer}],
    }
