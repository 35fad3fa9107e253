"""BLEU on cases worked out by hand."""

import math

import pytest
from nltk.translate import bleu_score

from unictokens.evaluation import bleu

PAIRS = [
    ("Pink.", "Pink."),
    ("A hat.", "A red hat."),
    ("Yes, it is.", "No."),
    ("x", "Pink."),
    ("the the the", "the cat"),
]


def test_released_bleu_by_hand() -> None:
    assert bleu.released("Pink.", "Pink.") == pytest.approx(1.0)
    assert bleu.released("", "Pink.") == 0.0 == bleu.released("zzz", "Pink.")
    # "ab" for "abcd": both characters and the pair are right, two of four characters: penalty exp(1 - 4/2).
    assert bleu.released("ab", "abcd") == pytest.approx(math.exp(-1))
    # "ba" for "ab": both characters right, the pair wrong: 0.1 matches of one.
    assert bleu.released("ba", "ab") == pytest.approx(0.1**0.3)
    # one character has no pair: 0.1 of at least one.
    assert bleu.released("a", "a") == pytest.approx(0.1**0.3)


def test_standard_bleu_counts_words() -> None:
    assert bleu.standard("It is on the beach.", "it is on the BEACH .") == pytest.approx(1.0)
    # five of six marks right, four of five pairs, three of four triples, two of three fours
    expected = (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert bleu.standard("It is on the snow.", "It is on the snow!") == pytest.approx(expected)
    assert bleu.standard("red", "blue") == 0.0


def test_a_repeated_word_counts_as_often_as_it_is_wanted() -> None:
    assert bleu.sentence_bleu("aaaa", "ab", (1.0,)) == pytest.approx(1 / 4)


@pytest.mark.parametrize(("answer", "expected"), PAIRS)
def test_nltk_agrees(answer: str, expected: str) -> None:
    smooth = bleu_score.SmoothingFunction().method1
    theirs = bleu_score.sentence_bleu([list(expected)], list(answer), weights=(0.7, 0.3), smoothing_function=smooth)
    assert bleu.released(answer, expected) == pytest.approx(theirs)
