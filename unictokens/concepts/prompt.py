"""Text in which learned rows stand at known places.

A prompt is a tuple of plain strings and `Rows`. Learned rows get into it only here, by position: whatever a user types
between them, `<token_3>` or another user's `<bo>` included, stays plain text for the tokenizer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from unictokens.concepts.layout import Group, TokenLayout


@dataclass(frozen=True)
class Rows:
    """Learned rows in a prompt: row numbers within the concept, and which of the prompt's concepts they belong to.

    `concept` counts the concepts that one prompt names (0 for the first); the bank that goes with a batch says which
    concept of the bank that is.
    """

    rows: tuple[int, ...]
    concept: int = 0


Prompt = tuple[str | Rows, ...]


def identifier(layout: TokenLayout, concept: int = 0) -> Prompt:
    """The concept's name alone, as used inside questions (`<bo>`)."""
    return (Rows(layout.rows("identifier"), concept),)


def subject(layout: TokenLayout, groups: tuple[Group, ...] = ("shared", "generation"), concept: int = 0) -> Prompt:
    """What stands for the concept in a drawing prompt: soft tokens, a space, the name (paper section 3.2).

    Without soft tokens it is the name alone.
    """
    soft = layout.rows(*groups)
    return ((Rows(soft, concept), " ") if soft else ()) + identifier(layout, concept)


def introduction(layout: TokenLayout, groups: tuple[Group, ...], concept: int = 0) -> Prompt:
    """The system prompt of understanding, "<bo> is <soft tokens>." (paper section 3.2); empty without soft tokens."""
    soft = layout.rows(*groups)
    if not soft:
        return ()
    return join(identifier(layout, concept), " is ", (Rows(soft, concept),), ".")


def join(*parts: str | Prompt) -> Prompt:
    """Concatenate strings and prompts; neighbouring strings become one, so that they are tokenized together."""
    joined: list[str | Rows] = []
    for part in parts:
        for piece in (part,) if isinstance(part, str) else part:
            if isinstance(piece, str) and joined and isinstance(joined[-1], str):
                joined[-1] += piece
            elif piece != "":
                joined.append(piece)
    return tuple(joined)


def fill(text: str, stands_for: Mapping[str, Prompt]) -> Prompt:
    """Replace every `<name>` of `text` whose name is a key of `stands_for` by that prompt.

    Names that are not in `stands_for` stay as they were typed.
    """
    if not stands_for:
        return join(text)
    pattern = re.compile("<(" + "|".join(re.escape(name) for name in stands_for) + ")>")
    pieces = pattern.split(text)
    return join(*(stands_for[piece] if at % 2 else piece for at, piece in enumerate(pieces)))
