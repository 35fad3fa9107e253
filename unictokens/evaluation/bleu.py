"""Sentence BLEU of an answer against the expected one, in the two ways that results are reported in.

`released` is what the published evaluation computes: characters, one- and two-grams weighted 0.7 and 0.3. `standard` is BLEU-4
over words. Both smooth as NLTK's method 1: an n-gram order without a match counts 0.1 matches (Chen and Cherry, 2014).
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence

NO_MATCH = 0.1
WORD = re.compile(r"\w+|[^\w\s]")


def released(answer: str, expected: str) -> float:
    """Score in [0, 1] over characters; 0 for an empty answer or one without any right character."""
    return sentence_bleu(list(answer), list(expected), (0.7, 0.3))


def standard(answer: str, expected: str) -> float:
    """BLEU-4 in [0, 1] over lower-case words and punctuation marks; 0 without any right word."""
    words, right = (WORD.findall(text.lower()) for text in (answer, expected))
    return sentence_bleu(words, right, (0.25, 0.25, 0.25, 0.25))


def sentence_bleu(said: Sequence[Hashable], right: Sequence[Hashable], weights: Sequence[float]) -> float:
    """Brevity penalty times the weighted geometric mean of n-gram precisions, n from 1 on; 0 without a matching unigram."""
    if not said:
        return 0.0
    score = 0.0
    for order, weight in enumerate(weights, start=1):
        there, wanted = _ngrams(said, order), _ngrams(right, order)
        matches = sum(min(count, wanted[gram]) for gram, count in there.items())
        if order == 1 and matches == 0:
            return 0.0
        score += weight * math.log((matches or NO_MATCH) / max(1, len(said) - order + 1))
    shortness = min(0.0, 1.0 - len(right) / len(said))
    return math.exp(shortness + score)


def _ngrams(items: Sequence[Hashable], order: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(items[at : at + order]) for at in range(len(items) - order + 1))
