"""What a concept may be called: the name becomes a folder, a placeholder `<name>` in prompts and part of an address."""

import re

from unictokens.errors import ConceptError

MAX_LENGTH = 64
NAME = r"[A-Za-z0-9_-]+"
_ALLOWED = re.compile(NAME)


def check_name(name: str, kind: str = "concept") -> str:
    """`name` itself when it is 1 to 64 ASCII letters, digits, '_' or '-'.

    `kind` says in the error what is being named. Raises ConceptError (one line, however hostile the name).
    """
    shown = repr(name if len(name) <= MAX_LENGTH else name[:24] + "...")
    if not name:
        raise ConceptError(f"a {kind} name is empty: use 1 to {MAX_LENGTH} letters, digits, '_' or '-'")
    if len(name) > MAX_LENGTH:
        raise ConceptError(f"{kind} name {shown} has {len(name)} characters: use at most {MAX_LENGTH}")
    if not _ALLOWED.fullmatch(name):
        wrong = next(letter for letter in name if not _ALLOWED.fullmatch(letter))
        raise ConceptError(f"{kind} name {shown} contains {wrong!r}: use letters, digits, '_' or '-' only")
    return name
