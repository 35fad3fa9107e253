"""Toyland's promises about what is drawn and what is said."""

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

from unictokens.data.toyland import (
    FineIdentity,
    Photo,
    Pose,
    caption,
    description,
    fact_questions,
    hard_negative,
    questions,
    random_photo,
    random_subject,
    render,
    subject_box,
)
from unictokens.data.toyland.grammar import KINDS, described_recognition
from unictokens.data.toyland.phrases import other_traits, subject_traits, traits_of
from unictokens.data.toyland.roster import roster
from unictokens.data.toyland.world import ACCESSORIES, CLASSES, COLOURS, LEVELS, PATTERNS, PLACES, kind_of
from unictokens.errors import ConfigError

UPRIGHT = Pose(0.5, 0.52, 0.85, False, 0.0)


def portrait(cls: str, seed: int = 0) -> Photo:
    rng = np.random.default_rng(seed)
    photo = random_photo(rng, random_subject(rng, cls), place="meadow")
    return replace(photo, accessory="none", accessory_colour=None, pose=UPRIGHT, light=1.0)


def changed(first: Photo, second: Photo) -> int:
    """Pixels of the 64 pixel pictures that differ clearly."""
    a, b = (np.asarray(render(photo)).astype(int) for photo in (first, second))
    return int((np.abs(a - b).max(axis=2) > 60).sum())


@pytest.mark.parametrize("cls", CLASSES)
def test_the_same_photo_gives_the_same_bytes_at_every_size(cls: str) -> None:
    photo = random_photo(np.random.default_rng(5), random_subject(np.random.default_rng(5), cls))
    for size in (32, 64, 200):
        image = render(photo, size)
        assert image.mode == "RGB" and image.size == (size, size)
        assert image.tobytes() == render(photo, size).tobytes()


@pytest.mark.parametrize("cls", CLASSES)
def test_every_level_of_every_fine_feature_is_visible_at_64_pixels(cls: str) -> None:
    photo = portrait(cls)
    for feature, count in LEVELS.items():
        if feature == "skin" and kind_of(cls) != "person":
            continue
        levels = [
            replace(photo, subject=replace(photo.subject, fine=replace(photo.subject.fine, **{feature: level})))
            for level in range(count)
        ]
        for at, first in enumerate(levels):
            for second in levels[at + 1 :]:
                assert changed(first, second) >= 25, (cls, feature)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_nameable_attribute_changes_the_picture(cls: str) -> None:
    photo = portrait(cls, 3)
    photo = replace(photo, pattern="striped")
    subject = photo.subject
    other = next(c for c in COLOURS if c not in (subject.colour, photo.second))
    others = (
        replace(photo, subject=replace(subject, colour=other)),
        replace(photo, second=other),
        replace(photo, pattern="spotted"),
        replace(photo, pattern="checked"),
        replace(photo, pattern="plain"),
        *(replace(photo, accessory=kind, accessory_colour="red") for kind in ACCESSORIES[1:]),
        *(replace(photo, place=place) for place in PLACES if place != photo.place),
    )
    for variant in others:
        assert changed(photo, variant) >= 40, variant


def test_a_hard_negative_differs_in_exactly_one_fine_feature() -> None:
    rng = np.random.default_rng(0)
    seen: Counter[str] = Counter()
    for _ in range(300):
        subject = random_subject(rng)
        other = hard_negative(subject, rng)
        differing = [
            f.name for f in fields(FineIdentity) if getattr(subject.fine, f.name) != getattr(other.fine, f.name)
        ]
        assert len(differing) == 1 and replace(other, fine=subject.fine) == subject
        assert 0 <= getattr(other.fine, differing[0]) < LEVELS[differing[0]]
        seen.update(differing)
    assert set(seen) == set(LEVELS)
    with pytest.raises(ConfigError, match="skin"):
        hard_negative(random_subject(rng, "mug"), rng, "skin")


def test_no_photo_of_a_concept_shows_its_facts() -> None:
    rng = np.random.default_rng(1)
    for subject in roster(3):
        for _ in range(60):
            photo = random_photo(rng, subject)
            assert photo.accessory not in {fact.accessory for fact in subject.facts}
            assert photo.place not in {fact.place for fact in subject.facts}


def test_the_figure_stays_in_its_box_and_mostly_in_the_picture() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        left, top, right, bottom = subject_box(random_photo(rng))
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        assert bottom - top >= 0.7


def test_impossible_sizes_are_refused() -> None:
    photo = portrait("dog")
    for size in (0, -64, 100_000):
        with pytest.raises(ConfigError, match="pixels"):
            render(photo, size)


def test_captions_tell_the_truth_and_cover_the_attributes() -> None:
    rng = np.random.default_rng(4)
    said: Counter[str] = Counter()
    for _ in range(300):
        photo = random_photo(rng)
        words = set(caption(photo, rng).lower().replace(".", "").replace("-", " ").replace("'s", "").split())
        assert photo.subject.cls in words
        assert words & set(COLOURS) <= {photo.subject.colour, photo.second, photo.accessory_colour}
        assert words & set(ACCESSORIES) <= {photo.accessory}
        assert words & set(PLACES) <= {photo.place}
        assert words & set(PATTERNS) <= {photo.pattern}
        said.update(words)
    assert set(COLOURS) | set(CLASSES) | set(PLACES) | set(ACCESSORIES) - {"none"} <= set(said)


def test_words_never_name_a_fine_feature() -> None:
    rng = np.random.default_rng(5)
    photo = random_photo(rng)
    twin = replace(photo, subject=hard_negative(photo.subject, rng))

    def texts(shown: Photo) -> list[object]:
        same = np.random.default_rng(0)
        return [caption(shown, same), *questions(shown, same), *fact_questions(shown, same)]

    assert texts(photo) == texts(twin)


def test_descriptions_of_absent_figures_are_false() -> None:
    rng = np.random.default_rng(6)
    single = 0
    for _ in range(400):
        shown = traits_of(random_photo(rng))
        shown = shown.without_coat() if rng.random() < 0.3 else shown
        told = other_traits(shown, rng)
        assert description(told) != description(shown)
        if shown.pattern != "plain" or shown.cls in ("man", "woman"):
            single += [getattr(told, f.name) == getattr(shown, f.name) for f in fields(told)].count(False) == 1
    assert single > 100


def test_recognition_answers_say_yes_or_no_first() -> None:
    photo = random_photo(np.random.default_rng(7))
    present = described_recognition(photo, True, np.random.default_rng(1))
    absent = described_recognition(photo, False, np.random.default_rng(1))
    assert present.answer.startswith("Yes, <") and absent.answer.startswith("No, <")
    assert photo.subject.cls in present.question


def test_questions_cover_every_kind_and_answers_are_balanced() -> None:
    rng = np.random.default_rng(8)
    kinds: Counter[str] = Counter()
    answers: dict[str, Counter[str]] = {"yesno": Counter(), "recognition": Counter()}
    for _ in range(300):
        photo = random_photo(rng)
        for item in questions(photo, rng) + fact_questions(photo, rng):
            assert item.kind in KINDS and item.question and item.answer.endswith(".")
            kinds[item.kind] += 1
            if item.kind in answers:
                answers[item.kind][item.answer[:2]] += 1
    assert set(kinds) == set(KINDS)
    for counts in answers.values():
        assert 0.35 < counts["Ye"] / counts.total() < 0.65


def test_a_roster_does_not_depend_on_how_many_are_asked_for() -> None:
    everyone = roster(7)
    assert roster(7, 4) == everyone[:4]
    assert [subject.kind for subject in everyone[:4]] == ["pet", "person", "object", "pet"]
    assert Counter(subject.kind for subject in everyone) == {"person": 10, "pet": 5, "object": 5}
    assert len({(subject.cls, subject.colour) for subject in everyone}) == 20
    assert all(subject.colour != subject.second for subject in everyone)
    assert len({subject.name for subject in everyone}) == 20
    assert subject_traits(everyone[1]).pattern is None
