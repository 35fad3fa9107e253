"""The judge of Toyland knows its words, and the shipped reader what its pictures show."""

import numpy as np
import pytest

from unictokens.data.toyland import random_photo, render
from unictokens.evaluation.toyland_judge import answer_ruling, drawing_ruling
from unictokens.evaluation.toyland_reader import Reading, ToylandReader

FACTS = "<bo> has a yellow balloon. <bo> lives in the kitchen."


@pytest.mark.parametrize(
    ("expected", "answer", "score"),
    [
        ("Pink.", "It is pink.", 1.0),
        ("<bo> has a yellow balloon.", "A yellow balloon.", 1.0),
        ("<bo> has a yellow balloon.", "<fo> has a red balloon.", 0.5),
        ("<bo> has a yellow balloon.", "Delzel.", 0.0),
        ("Striped.", "It has stripes.", 1.0),
        ("No.", "No, it is red.", 1.0),
        ("Yes.", "No.", 0.0),
        ("Yes.", "Perhaps.", 0.0),
        ("<red> lives in the snow.", "In the snow.", 1.0),
    ],
)
def test_answers_are_judged_by_their_content(expected: str, answer: str, score: float) -> None:
    assert answer_ruling(expected, answer).score == score


def test_an_expected_answer_without_a_known_word_gives_no_verdict() -> None:
    assert answer_ruling("An astrolabe.", "Pink.").score is None


@pytest.mark.parametrize(
    ("prompt", "accessory", "colour", "place", "score"),
    [
        ("A photo of <bo> with its balloon.", "balloon", "yellow", "snow", 1.0),
        ("A photo of <bo> with its balloon.", "balloon", "red", "snow", 0.0),
        ("A photo of <bo> with its balloon.", "hat", "yellow", "snow", 0.5),
        ("A photo of <bo> with its balloon.", "none", None, "kitchen", 0.0),
        ("A photo of <bo> where it lives.", "none", None, "kitchen", 1.0),
        ("A photo of <bo> where it lives.", "balloon", "yellow", "snow", 0.0),
        ("A photo of <bo> with its hat.", "hat", "red", "snow", None),
    ],
)
def test_drawings_are_judged_by_the_fact_that_the_prompt_means(
    prompt: str, accessory: str, colour: str | None, place: str, score: float | None
) -> None:
    seen = Reading("dog", "black", "striped", accessory, colour, place)
    assert drawing_ruling(prompt, FACTS, seen).score == score


def test_the_shipped_reader_reads_new_photos() -> None:
    rng = np.random.default_rng(77)
    photos = [random_photo(rng) for _ in range(100)]
    read = ToylandReader().read([render(photo, 64) for photo in photos])
    for field, least in (("place", 0.97), ("accessory", 0.95), ("accessory_colour", 0.92)):
        right = np.mean([getattr(one, field) == getattr(photo, field) for one, photo in zip(read, photos, strict=True)])
        assert right >= least, (field, right)
