"""Question files in one pass of compiled code: parsed, checked and split into items, for jobs of 100,000 concepts.

Only what is plainly in order is taken. Anything else, odd or wrong, is left to `forms`, which knows every form and says what
is wrong; so nothing here needs a message.
"""

from typing import Literal, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

Item = tuple[int, tuple[str, ...], str | None, str | None]
"""A checked item: its place in the file, counted from 0; question, answer, question, ...; its picture as written; its type."""


class _Turn(Struct, gc=False):
    value: str
    speaker: Literal["human", "gpt"] | None = msgspec.field(name="from", default=None)


class _Entry(Struct, gc=False):
    conversations: list[_Turn] | UnsetType = UNSET
    query: str | UnsetType = UNSET
    question: str | UnsetType = UNSET
    answer: str | UnsetType = UNSET
    image: str | None = None
    type: str | None = None


_FILE = msgspec.json.Decoder(list[_Entry] | dict[str, list[_Entry]])


def quick_items(content: bytes) -> list[Item] | None:
    """The items of a question file in order; None for a file that wants a closer look."""
    try:
        value = _FILE.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        by_image = [(image, entry) for image, entries in value.items() for entry in entries]
        items = [(number, _pair(entry), image, None) for number, (image, entry) in enumerate(by_image)]
        odd = any(entry.conversations is not UNSET for _, entry in by_image)
    else:
        items = [(number, _said(entry), entry.image, entry.type) for number, entry in enumerate(value)]
        odd = False
    return None if odd or any(said is None for _, said, _, _ in items) else cast(list[Item], items)


def _said(entry: _Entry) -> tuple[str, ...] | None:
    turns = entry.conversations
    if turns is UNSET:
        return _pair(entry)
    if len(turns) == 2:  # nearly always
        question, answer = turns
        in_turn = question.speaker != "gpt" and answer.speaker != "human"
        return (question.value, answer.value) if in_turn else None
    if len(turns) % 2 or not turns:
        return None
    in_turn = all(turn.speaker != ("gpt", "human")[at % 2] for at, turn in enumerate(turns))
    return tuple(turn.value for turn in turns) if in_turn else None


def _pair(entry: _Entry) -> tuple[str, ...] | None:
    question = entry.question if entry.query is UNSET else entry.query
    return None if question is UNSET or entry.answer is UNSET else (question, entry.answer)
