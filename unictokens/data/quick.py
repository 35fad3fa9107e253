"""Question files in one pass of compiled code: parsed, checked and split into items, for jobs of 100,000 concepts.

Only what is plainly in order is taken. Anything else, odd or wrong, is left to `forms`, which knows every form and says what
is wrong; so nothing here needs a message.
"""

from typing import Literal

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
    items: list[Item] = []
    if isinstance(value, dict):
        for image, entries in value.items():
            for entry in entries:
                said = _pair(entry)
                if said is None or entry.conversations is not UNSET:
                    return None
                items.append((len(items), said, image, None))
        return items
    for number, entry in enumerate(value):
        turns = entry.conversations
        if turns is UNSET:
            said = _pair(entry)
        elif len(turns) == 2:  # nearly always
            question, answer = turns
            in_turn = question.speaker != "gpt" and answer.speaker != "human"
            said = (question.value, answer.value) if in_turn else None
        else:
            said = _several(turns)
        if said is None:
            return None
        items.append((number, said, entry.image, entry.type))
    return items


def _several(turns: list[_Turn]) -> tuple[str, ...] | None:
    in_turn = all(turn.speaker != ("gpt", "human")[at % 2] for at, turn in enumerate(turns))
    return tuple([turn.value for turn in turns]) if turns and len(turns) % 2 == 0 and in_turn else None


def _pair(entry: _Entry) -> tuple[str, ...] | None:
    question = entry.question if entry.query is UNSET else entry.query
    return None if question is UNSET or entry.answer is UNSET else (question, entry.answer)
