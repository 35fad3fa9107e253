"""The words and the facts of Toyland: what can be drawn, who a subject is, what one photo shows.

Nameable attributes (class, colours, pattern, accessory, place) are the words that a base model may know. The
`FineIdentity` of a subject has no words: it is what makes a subject personal, as in UniCTokens, where a concept is
told from others of its class by what a caption leaves out.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from unictokens.errors import ConfigError

PERSONS = ("man", "woman")
PETS = ("dog", "cat", "rabbit")
OBJECTS = ("mug", "teapot", "car")
CLASSES = PERSONS + PETS + OBJECTS
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
PATTERNS = ("plain", "striped", "spotted", "checked")
ACCESSORIES = ("none", "hat", "scarf", "bow", "balloon")
PLACES = ("beach", "forest", "city", "snow", "kitchen", "meadow")

MARKINGS = ("ring", "cross", "triangle", "bars")
TONES = ("dark", "light", "accent")
LEVELS = {"marking": 4, "slot": 3, "tone": 3, "build": 3, "ears": 3, "face": 3, "skin": 4}
"""Number of levels of each fine feature; `skin` exists for persons only."""

_ONSETS = "bdfgklmnprstvz"
_VOWELS = "aeiou"


@dataclass(frozen=True)
class FineIdentity:
    """What words never name, as small integers in `range(LEVELS[field])`.

    `marking` shape, `slot` where it sits, `tone` how it is coloured, `build` slim, normal or wide, `ears` length and
    shape of ears (objects: handle, spout or roof; persons: hair style), `face` geometry of eyes and mouth (objects:
    base, lid or wheels), `skin` tone of persons (0 for everyone else).
    """

    marking: int
    slot: int
    tone: int
    build: int
    ears: int
    face: int
    skin: int = 0


@dataclass(frozen=True)
class Fact:
    """Something true of a subject that none of its photos shows: an accessory it owns, or the place it lives in."""

    kind: str
    """`owns` or `lives`."""
    accessory: str | None = None
    colour: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Subject:
    """One individual. `second` and `pattern` are None for persons, whose shirt belongs to the photo."""

    name: str
    cls: str
    colour: str
    second: str | None
    pattern: str | None
    fine: FineIdentity
    facts: tuple[Fact, ...] = ()

    @property
    def kind(self) -> str:
        """`person`, `pet` or `object`."""
        return kind_of(self.cls)


@dataclass(frozen=True)
class Pose:
    """Where the figure stands, in unit coordinates of the picture (y grows downwards).

    `x`, `y` centre of the figure's box, `scale` height of that box, `flip` mirrored left to right, `rotation` degrees,
    clockwise in the picture, in [-5, 5].
    """

    x: float
    y: float
    scale: float
    flip: bool
    rotation: float


@dataclass(frozen=True)
class Photo:
    """Everything about one picture; the same record always renders to the same bytes.

    `second` and `pattern` repeat the subject's own, except for persons, where they are this day's shirt.
    `accessory_colour` is None where `accessory` is `none`. `light` multiplies brightness. `seed` draws the scene and
    the slight jitter of colours.
    """

    subject: Subject
    second: str
    pattern: str
    accessory: str
    accessory_colour: str | None
    place: str
    pose: Pose
    light: float
    seed: int


def kind_of(cls: str) -> str:
    """`person`, `pet` or `object` for a class word. Raises ConfigError for an unknown class."""
    for kind, members in (("person", PERSONS), ("pet", PETS), ("object", OBJECTS)):
        if cls in members:
            return kind
    raise ConfigError(f"unknown Toyland class {cls!r}: use one of {', '.join(CLASSES)}")


def pick(rng: np.random.Generator, options: tuple[str, ...], exclude: tuple[str | None, ...] = ()) -> str:
    """One of `options` that is not in `exclude`, uniformly."""
    left = [option for option in options if option not in exclude]
    return left[int(rng.integers(len(left)))]


def random_name(rng: np.random.Generator) -> str:
    """A made-up lower-case name of one to three syllables, such as `bo` or `miru`."""
    syllables = int(rng.choice((1, 2, 2, 2, 3)))
    letters = (_ONSETS[int(rng.integers(len(_ONSETS)))] + _VOWELS[int(rng.integers(5))] for _ in range(syllables))
    return "".join(letters)


def random_fine(rng: np.random.Generator, cls: str) -> FineIdentity:
    """Uniform fine identity for a class."""
    level = {name: int(rng.integers(count)) for name, count in LEVELS.items()}
    if kind_of(cls) != "person":
        level["skin"] = 0
    return FineIdentity(**level)


def random_facts(rng: np.random.Generator, count: int) -> tuple[Fact, ...]:
    """One fact (either kind) or two (one of each kind)."""
    owns = Fact("owns", accessory=pick(rng, ACCESSORIES, ("none",)), colour=pick(rng, COLOURS))
    lives = Fact("lives", place=pick(rng, PLACES))
    if count == 2:
        return (owns, lives)
    return (owns,) if rng.random() < 0.5 else (lives,)


def random_subject(rng: np.random.Generator, cls: str | None = None, name: str | None = None) -> Subject:
    """A subject without facts; class and name are drawn where they are not given."""
    cls = pick(rng, CLASSES) if cls is None else cls
    colour = pick(rng, COLOURS)
    second, pattern = (None, None) if kind_of(cls) == "person" else (pick(rng, COLOURS, (colour,)), pick(rng, PATTERNS))
    return Subject(random_name(rng) if name is None else name, cls, colour, second, pattern, random_fine(rng, cls))


def random_pose(rng: np.random.Generator, cls: str, accessory: str) -> Pose:
    """A pose that keeps the figure's box, and a balloon beside it, inside the picture."""
    person = kind_of(cls) == "person"
    roomy = accessory in ("balloon", "hat")
    scale = float(rng.uniform(0.78, 0.86) if roomy else rng.uniform(0.80, 0.94))
    bottom = float(rng.uniform(0.98, 1.01) if person else rng.uniform(0.94, 0.98))
    return Pose(
        x=float(0.5 + rng.uniform(-0.05, 0.05)),
        y=bottom - scale / 2,
        scale=scale,
        flip=bool(rng.random() < 0.5),
        rotation=float(rng.uniform(-5.0, 5.0)),
    )


def random_photo(rng: np.random.Generator, subject: Subject | None = None, place: str | None = None) -> Photo:
    """A photo of `subject` (or of a random one) that shows neither an owned accessory's kind nor the home of its facts.

    An explicit `place` overrides the exclusion of the home.
    """
    subject = random_subject(rng) if subject is None else subject
    hidden = tuple(fact.accessory for fact in subject.facts) + tuple(fact.place for fact in subject.facts)
    accessory = "none" if rng.random() < 0.3 else pick(rng, ACCESSORIES, ("none", *hidden))
    colour = None if accessory == "none" else pick(rng, COLOURS)
    second = pick(rng, COLOURS, (subject.colour,)) if subject.second is None else subject.second
    pattern = pick(rng, PATTERNS) if subject.pattern is None else subject.pattern
    return Photo(
        subject=subject,
        second=second,
        pattern=pattern,
        accessory=accessory,
        accessory_colour=colour,
        place=pick(rng, PLACES, hidden) if place is None else place,
        pose=random_pose(rng, subject.cls, accessory),
        light=float(rng.uniform(0.9, 1.08)),
        seed=int(rng.integers(2**31)),
    )


def hard_negative(subject: Subject, rng: np.random.Generator, feature: str | None = None) -> Subject:
    """The same subject in every word, with exactly one fine feature at another level.

    `feature` names the field to change (drawn where None). Raises ConfigError for a feature the class does not have.
    """
    names = [field.name for field in fields(FineIdentity)]
    if subject.kind != "person":
        names.remove("skin")
    feature = names[int(rng.integers(len(names)))] if feature is None else feature
    if feature not in names:
        raise ConfigError(f"a {subject.cls} has no fine feature {feature!r}: use one of {', '.join(names)}")
    level = getattr(subject.fine, feature)
    others = [other for other in range(LEVELS[feature]) if other != level]
    return replace(subject, fine=replace(subject.fine, **{feature: others[int(rng.integers(len(others)))]}))
