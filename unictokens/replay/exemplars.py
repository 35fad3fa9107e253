"""Parsing and composing by the model itself, shown how by a few examples (OmniPersona, section 3.2; Figure 6b counts them).

An example whose thing the request speaks of is left out and the next one taken: the answer must not stand in the question.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unictokens.replay.rules import NAME, UNSURE

NOTHING = "Nothing."
QUESTIONS_AT_MOST = 4
ROOM = 200
"""Characters of a question or of a composed prompt beyond its request."""


@dataclass(frozen=True)
class Exemplar:
    """A request, the question it needs, an answer to that, and the prompt that comes of both. `about` is the thing it is about."""

    about: str
    request: str
    question: str
    answer: str = ""
    prompt: str = ""


EXEMPLARS: tuple[Exemplar, ...] = (
    Exemplar(
        "cup",
        "A photo of <ana> with her cup.",
        "What colour is <ana>'s cup?",
        "Green.",
        "A photo of <ana> with a green cup.",
    ),
    Exemplar(
        "sleep",
        "A photo of <kai> where it sleeps.",
        "Where does <kai> sleep?",
        "<kai> sleeps under the table.",
        "A photo of <kai> under the table.",
    ),
    Exemplar("rain", "A photo of <noa> in the rain.", NOTHING),
    Exemplar(
        "toy",
        "A photo of <kai> playing with its toy.",
        "What is <kai>'s toy?",
        "<kai>'s toy is a small blue boat.",
        "A photo of <kai> playing with a small blue boat.",
    ),
    Exemplar(
        "favourite",
        "A drawing of <leo> eating his favourite fruit.",
        "What is <leo>'s favourite fruit?",
        "A pear.",
        "A drawing of <leo> eating a pear.",
    ),
    Exemplar(
        "work",
        "A photo of <noa> where she works.",
        "Where does <noa> work?",
        "<noa> works in a library.",
        "A photo of <noa> in a library.",
    ),
    Exemplar(
        "coat",
        "A picture of <leo> wearing his coat.",
        "What colour is <leo>'s coat?",
        "Brown.",
        "A picture of <leo> wearing a brown coat.",
    ),
    Exemplar(
        "bed",
        "A photo of <ana> in her bed.",
        "What colour is <ana>'s bed?",
        "<ana> has a white bed.",
        "A photo of <ana> in a white bed.",
    ),
)
"""In the order in which they are taken."""


def chosen(request: str, count: int) -> tuple[Exemplar, ...]:
    """The first `count` examples that do not give a request away."""
    return tuple(each for each in EXEMPLARS if not re.search(rf"\b{each.about}", request, re.IGNORECASE))[:count]


def parsing(request: str, count: int) -> str:
    """What the model is told, so that it says which question must be answered first."""
    return parsing_after(chosen(request, count), request)


def parsing_after(shown: Sequence[Exemplar], request: str) -> str:
    """The same with the examples given."""
    told = [f"Request: {each.request}\nQuestion: {each.question}" for each in shown]
    task = "Ask for what must be known before the request can be drawn. If nothing must be known, say nothing."
    return "\n".join([task, *told, f"Request: {request}\nQuestion:"])


def composing(request: str, answer: str, count: int) -> str:
    """What the model is told, so that it puts an answer into a request."""
    return composing_after([each for each in chosen(request, count) if each.prompt], request, answer)


def composing_after(shown: Sequence[Exemplar], request: str, answer: str) -> str:
    """The same with the examples given."""
    told = [f"Request: {each.request}\nAnswer: {each.answer}\nPrompt: {each.prompt}" for each in shown]
    task = "Write the request again with the answer in it."
    return "\n".join([task, *told, f"Request: {request}\nAnswer: {answer}\nPrompt:"])


def parsed(said: str, names: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """(concept, question) pairs out of what the model said, and why the rest of it was refused."""
    text = said.split("Request:")[0].strip()
    if text.rstrip(".").lower() == NOTHING.rstrip(".").lower():
        return (), ()
    if "?" not in text:
        return (), (f"{_short(text)} is no question",)
    good: dict[tuple[str, str], None] = {}
    refused: list[str] = []
    for question in (" ".join(f"{each}?".split()) for each in text.split("?")[:-1]):
        about = [name for name in NAME.findall(question) if name in names]
        if len(set(about)) != 1:
            refused.append(f"{_short(question)} does not ask about one concept")
        elif len(question) > ROOM or len(good) == QUESTIONS_AT_MOST:
            refused.append(f"{_short(question)} is too long or one too many")
        else:
            good[about[0], question] = None
    return tuple(good), tuple(refused)


def composed(said: str, request: str, answer: str) -> tuple[str, str]:
    """A prompt out of what the model said, or "" and why it was refused.

    It must name whom the request names, have every word of content of the answer, and no word that neither of them has.
    """
    lines = said.split("Request:")[0].strip().splitlines()
    text = lines[0].strip() if lines else ""
    if Counter(NAME.findall(text)) != Counter(NAME.findall(request)):
        return "", f"{_short(text)} does not name whom the request names"
    have, known = _words(text), _words(request) | _words(answer)
    if not _content(answer) <= have:
        return "", f"{_short(text)} does not say {_short(answer)}"
    if not have <= known | _SMALL:
        return "", f"{_short(text)} says more than the request and the answer"
    if text == request or UNSURE.search(answer):
        return "", f"{_short(text)} tells nothing new"
    return text, ""


_SMALL = frozenset(("a", "an", "the", "with", "in", "at", "on", "and", "of"))
_STATED = re.compile(
    r"^\s*(?:<[^<>]+>|its|his|her|their|he|she|it|they)(?:'s)?(?: [\w-]+)*? (?:is|are|has|have|[a-z]+s)\b",
    re.IGNORECASE,
)
"""How a statement begins: its subject and its verb."""


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", NAME.sub(" ", text.lower())))


def _content(answer: str) -> frozenset[str]:
    """Words of an answer that a prompt must not lose: "under the table" of "<kai> sleeps under the table."."""
    return _words(_STATED.sub(" ", answer)) - _SMALL


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 80 else f"{line[:77]}...")
