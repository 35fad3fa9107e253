"""Questions and answers about photos and facts, in the same words for the base model and for concepts.

Answers are short and start with the word that matters: `A dog.`, `Brown.`, `At the beach.`, `Yes.`; recognition
answers are full sentences that begin with yes or no.
"""

from dataclasses import dataclass

import numpy as np

from unictokens.data.toyland.phrases import (
    PATTERN_NOUNS,
    PLACE_PHRASES,
    Traits,
    description,
    fact_statement,
    full_description,
    other_traits,
    sentence,
    subject_traits,
    traits_of,
    with_article,
)
from unictokens.data.toyland.world import (
    ACCESSORIES,
    CLASSES,
    COLOURS,
    PATTERNS,
    PERSONS,
    PLACES,
    Fact,
    Photo,
    pick,
    random_facts,
    random_name,
)

KINDS = (
    *("class", "colour", "second", "pattern", "accessory", "accessory_colour", "place", "describe", "yesno"),
    *("choice", "recognition", "named", "text_only"),
)
"""`named` questions carry a description that gives the answer away; they teach how names are used, and measure nothing."""

RECOGNITION = (
    "Is {who} in the photo?",
    "Can you see {who} in this photo?",
    "Is {who} here?",
    "Is this {who}?",
    "Does the photo show {who}?",
)


@dataclass(frozen=True)
class Question:
    """A question, its answer, and its kind (one of `KINDS`)."""

    question: str
    answer: str
    kind: str


def _say(rng: np.random.Generator, wordings: tuple[str, ...], who: str) -> str:
    text = wordings[int(rng.integers(len(wordings)))].format(who=who)
    return text[0].upper() + text[1:]


def recognition(name: str, present: bool, rng: np.random.Generator) -> Question:
    """`Is <bo> in the photo?` and `Yes, <bo> is in the photo.` or `No, <bo> is not in the photo.`"""
    answer = f"Yes, {name} is in the photo." if present else f"No, {name} is not in the photo."
    return Question(_say(rng, RECOGNITION, name), answer, "recognition")


def described_recognition(photo: Photo, present: bool, rng: np.random.Generator) -> Question:
    """Recognition of someone made up and described in the question; absent means that the description is wrong."""
    name = f"<{random_name(rng)}>"
    traits = traits_of(photo)
    if rng.random() < (0.5 if traits.cls in PERSONS else 0.25):
        traits = traits.without_coat()
    if not present:
        traits = other_traits(traits, rng)
    asked = recognition(name, present, rng)
    return Question(f"{_introduction(name, traits, rng)}{asked.question}", asked.answer, asked.kind)


def _introduction(name: str, traits: Traits, rng: np.random.Generator) -> str:
    # Concepts are introduced by a line of learned tokens before the question, hence the line break half of the time.
    return f"{name} is {description(traits, rng)}.{' ' if rng.random() < 0.5 else chr(10)}"


def photo_questions(photo: Photo, who: str | None, rng: np.random.Generator) -> list[Question]:
    """Questions about everything a photo shows, without recognition.

    `who` is how the figure is called, such as `<bo>`; None says "the dog", or "it" where that would tell the answer.
    """
    cls = photo.subject.cls
    person = cls in PERSONS
    it = "this" if who is None else who
    who = f"the {cls}" if who is None else who
    asked = [
        Question(
            _say(rng, ("What is {who}?", "What kind of thing is {who}?"), it), f"{sentence(with_article(cls))}", "class"
        ),
        Question(_say(rng, _colour_wordings(person), who), sentence(photo.subject.colour), "colour"),
        Question(_say(rng, _pattern_wordings(person), who), sentence(photo.pattern), "pattern"),
        Question(
            _say(rng, ("Where is {who}?", "Where was this photo of {who} taken?", "What place is {who} in?"), who),
            sentence(PLACE_PHRASES[photo.place]),
            "place",
        ),
        Question(
            _say(
                rng,
                (
                    "What accessory does {who} have here?",
                    "What is {who} wearing or holding?",
                    "What accessory is in the photo?",
                ),
                who,
            ),
            "Nothing." if photo.accessory == "none" else sentence(with_article(photo.accessory)),
            "accessory",
        ),
        Question(
            _say(rng, ("Describe the photo.", "What does the photo show?", "Describe what you see."), who),
            sentence(full_description(photo)),
            "describe",
        ),
    ]
    if person:
        wordings = ("What colour is the shirt?", "What colour is {who}'s shirt?")
        asked.append(Question(_say(rng, wordings, who), sentence(photo.second), "second"))
    elif photo.pattern != "plain":
        marks = PATTERN_NOUNS[photo.pattern]
        wordings = (f"What colour are the {marks}?", f"What colour are the {marks} of {{who}}?")
        asked.append(Question(_say(rng, wordings, who), sentence(photo.second), "second"))
    if photo.accessory_colour is not None:
        wordings = (f"What colour is the {photo.accessory}?", f"What colour is {{who}}'s {photo.accessory}?")
        asked.append(Question(_say(rng, wordings, who), sentence(photo.accessory_colour), "accessory_colour"))
    return asked + _yes_no(photo, it if it != "this" else "it", who, rng) + _choices(photo, it, who, rng)


def _colour_wordings(person: bool) -> tuple[str, ...]:
    if person:
        return ("What colour is {who}'s hair?", "What is the hair colour of {who}?")
    return ("What colour is {who}?", "What is the colour of {who}?")


def _pattern_wordings(person: bool) -> tuple[str, ...]:
    if person:
        return ("What pattern is on the shirt?", "What pattern does {who}'s shirt have?")
    return ("What pattern does {who} have?", "What is the pattern of {who}?")


def _yes_no(photo: Photo, it: str, who: str, rng: np.random.Generator) -> list[Question]:
    """One question per attribute, true or false with equal chance."""

    def ask(wording: str, shown: str, options: tuple[str, ...]) -> Question:
        true = bool(rng.random() < 0.5)
        said = shown if true else pick(rng, options, (shown,))
        return Question(wording.format(said=said, a=with_article(said)), "Yes." if true else "No.", "yesno")

    person = photo.subject.cls in PERSONS
    colour = f"Is {who}'s hair {{said}}?" if person else f"Is {who} {{said}}?"
    pattern = "Is the shirt {said}?" if person else f"Is {who} {{said}}?"
    wearable = ACCESSORIES[1:]
    asked = [
        ask(f"Is {it} {{a}}?", photo.subject.cls, CLASSES),
        ask(colour, photo.subject.colour, COLOURS if person else tuple(c for c in COLOURS if c != photo.second)),
        ask(pattern, photo.pattern, PATTERNS),
        ask("Is this the {said}?", photo.place, PLACES),
    ]
    if photo.accessory == "none":
        asked.append(Question(f"Is there {with_article(pick(rng, wearable))}?", "No.", "yesno"))
    else:
        asked.append(ask("Is there {a}?", photo.accessory, wearable))
    return asked


def _choices(photo: Photo, it: str, who: str, rng: np.random.Generator) -> list[Question]:
    """One question that offers two answers, one of them right."""

    def offer(wording: str, shown: str, options: tuple[str, ...], article: bool) -> Question:
        pair = [shown, pick(rng, options, (shown,))]
        if rng.random() < 0.5:
            pair.reverse()
        words = [with_article(word) if article else word for word in pair]
        answer = with_article(shown) if article else shown
        return Question(wording.format(first=words[0], second=words[1]), sentence(answer), "choice")

    traits = traits_of(photo)
    hair = f"{who}'s hair" if traits.cls in PERSONS else who
    colours = tuple(c for c in COLOURS if c != traits.second)
    both = (
        offer(f"Is {it} {{first}} or {{second}}?", traits.cls, CLASSES, article=True),
        offer(f"Is {hair} {{first}} or {{second}}?", traits.colour, colours, article=False),
    )
    return [both[int(rng.integers(2))]]


def questions(photo: Photo, rng: np.random.Generator) -> list[Question]:
    """All questions the base learns from a photo: the attributes, and recognition of described made-up names.

    A third of the time the figure has a made-up name, introduced before each question as learned tokens would be.
    """
    if rng.random() < 0.33:
        name = f"<{random_name(rng)}>"
        known = subject_traits(photo.subject)
        known = known.without_coat() if rng.random() < 0.5 else known
        unsaid = ("place", "accessory", "accessory_colour")
        asked = [
            Question(
                f"{_introduction(name, known, rng)}{item.question}",
                item.answer,
                item.kind if item.kind in unsaid else "named",
            )
            for item in photo_questions(photo, name, rng)
            if item.kind in (*unsaid, "describe", "class", "colour", "yesno")
        ]
    else:
        asked = photo_questions(photo, None, rng)
    return asked + [described_recognition(photo, bool(rng.random() < 0.5), rng) for _ in range(4)]


def fact_answers(name: str, cls: str, fact: Fact, rng: np.random.Generator) -> list[Question]:
    """Questions without a photo on one fact about `name`: open ones, and a true and a false yes/no one."""
    statement = fact_statement(name, fact)
    if fact.place is not None:
        wordings = ("Where does {who} live?", "Where is the home of {who}?", "In what place does {who} live?")
        asked = [Question(wording.format(who=name), statement, "text_only") for wording in wordings]
        wrong = pick(rng, PLACES, (fact.place,))
        for place, answer in ((fact.place, "Yes."), (wrong, "No.")):
            asked.append(Question(f"Does {name} live {PLACE_PHRASES[place]}?", answer, "text_only"))
        return asked
    if fact.accessory is None or fact.colour is None:
        raise ValueError(f"a fact says neither what is owned nor where one lives: {fact}")
    wordings = ("What does {who} have?", "What does {who} own?", "Which thing belongs to {who}?")
    asked = [Question(wording.format(who=name), statement, "text_only") for wording in wordings]
    asked.append(Question(f"What colour is {name}'s {fact.accessory}?", sentence(fact.colour), "text_only"))
    wrong = pick(rng, ACCESSORIES, ("none", fact.accessory))
    for accessory, answer in ((fact.accessory, "Yes."), (wrong, "No.")):
        asked.append(Question(f"Does {name} have {with_article(accessory)}?", answer, "text_only"))
    return asked


def trait_answers(name: str, traits: Traits, rng: np.random.Generator) -> list[Question]:
    """Questions without a photo on the traits `name` always has."""
    person = traits.cls in PERSONS
    asked = [
        Question(f"What is {name}?", sentence(with_article(traits.cls)), "text_only"),
        Question(_say(rng, _colour_wordings(person), name), sentence(traits.colour), "text_only"),
    ]
    if not person and traits.pattern is not None:
        asked.append(Question(_say(rng, _pattern_wordings(person), name), sentence(traits.pattern), "text_only"))
    other = pick(rng, CLASSES, (traits.cls,))
    for cls, answer in ((traits.cls, "Yes."), (other, "No.")):
        asked.append(Question(f"Is {name} {with_article(cls)}?", answer, "text_only"))
    return asked


def fact_questions(photo: Photo, rng: np.random.Generator) -> list[Question]:
    """Text-only questions that state what they ask about: made-up facts and the photo's traits (kind `text_only`)."""
    name = f"<{random_name(rng)}>"
    cls = photo.subject.cls
    facts = random_facts(rng, 2)
    told = [fact_statement(name, fact) for fact in facts]
    asked: list[Question] = []
    for at, fact in enumerate(facts):
        for item in fact_answers(name, cls, fact, rng):
            shown = told if rng.random() < 0.5 else [told[at]]
            asked.append(Question(f"{' '.join(shown)} {item.question}", item.answer, item.kind))
    traits = subject_traits(photo.subject)
    for item in trait_answers(name, traits, rng):
        asked.append(Question(f"{name} is {description(traits, rng)}. {item.question}", item.answer, item.kind))
    return asked
