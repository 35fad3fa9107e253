"""Toyland's residents: what is said of them is what their photos show, and lookalikes are told apart."""

from dataclasses import fields

import numpy as np

from unictokens.data.toyland import (
    FineIdentity,
    Photo,
    resident_caption,
    resident_facts,
    resident_photo,
    resident_questions,
    residents,
)
from unictokens.data.toyland.phrases import PLACE_PHRASES
from unictokens.data.toyland.residents import UNKNOWN, is_resident
from unictokens.data.toyland.roster import roster
from unictokens.data.toyland.world import ACCESSORIES

SEEDS = range(300)


def photos() -> list[Photo]:
    return [resident_photo(np.random.default_rng(seed)) for seed in SEEDS]


def test_no_concept_is_a_resident() -> None:
    known = residents()
    assert len(known) == 224 and all(name == subject.name for name, subject in known.items())
    assert not {subject.name for subject in roster(seed=0)} & set(known)


def test_lookalikes_differ_in_one_fine_feature() -> None:
    others = [photo for photo in photos() if not is_resident(photo)]
    assert 0.3 < len(others) / len(SEEDS) < 0.5
    for photo in others:
        known = residents()[photo.subject.name]
        assert (photo.subject.cls, photo.subject.colour) == (known.cls, known.colour)
        changed = [
            f for f in fields(FineIdentity) if getattr(photo.subject.fine, f.name) != getattr(known.fine, f.name)
        ]
        assert len(changed) == 1


def test_captions_say_only_what_is_drawn() -> None:
    told = {"place": 0, "accessory": 0, "home": 0, "own": 0}
    for seed, photo in zip(SEEDS, photos(), strict=True):
        owned, home = residents()[photo.subject.name].facts
        text = resident_caption(photo, np.random.default_rng(seed))
        assert photo.subject.name in text
        for place, phrase in PLACE_PHRASES.items():
            if phrase in text:
                assert place == photo.place
                told["place"] += 1
        for accessory in ACCESSORIES[1:]:
            if f" {accessory}" in text.removesuffix("."):
                assert accessory == photo.accessory
                told["accessory"] += 1
                if photo.accessory_colour not in text:  # "its hat": only the fact says which
                    assert (accessory, photo.accessory_colour) == (owned.accessory, owned.colour)
                    told["own"] += 1
        if "lives" in text:
            assert photo.place == home.place
            told["home"] += 1
    assert all(count > 0 for count in told.values()), told


def test_answers_know_residents_from_lookalikes() -> None:
    for seed, photo in zip(SEEDS, photos(), strict=True):
        name, present = photo.subject.name, is_resident(photo)
        for item in resident_questions(photo, np.random.default_rng(seed)):
            if item.kind == "who":
                assert item.answer == (f"{name}." if present else UNKNOWN)
            if item.kind == "recognition" and name in item.question:
                assert item.answer.startswith("Yes" if present else "No")
            if item.kind not in ("who", "recognition"):
                assert present or name not in item.question


def test_facts_are_asked_by_name_or_by_an_alias_that_is_explained() -> None:
    for seed in SEEDS:
        for item in resident_facts(np.random.default_rng(seed)):
            assert any(name in item.question for name in residents()) and item.kind == "text_only"
