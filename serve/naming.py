"""How a concept is written: `bo`, somebody else's `ada/bo`, a version or alias of either `bo@3`, `ada/bo@stable`.

In a prompt it stands between angle brackets. A `/` cannot occur in a concept's name, so a granted concept never hides one
of the caller's own, whatever either is called.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from serve.refusal import wrong
from unictokens.concepts.names import check_name
from unictokens.errors import ConceptError, ConfigError

_WORD = r"[A-Za-z0-9_-]{1,64}"
_NAME = rf"(?:({_WORD})/)?({_WORD})(?:@({_WORD}))?"
_WHOLE = re.compile(_NAME)
_PLACEHOLDER = re.compile(rf"<{_NAME}>")


@dataclass(frozen=True)
class ConceptName:
    """A concept as a caller writes it; without `owner` the caller's own, without `version` the one that is served."""

    name: str
    owner: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        return (f"{self.owner}/" if self.owner else "") + self.name + (f"@{self.version}" if self.version else "")


def parse_name(text: str) -> ConceptName | None:
    """`text` as a concept's name, or None when it cannot be one."""
    found = _WHOLE.fullmatch(text)
    return None if found is None else ConceptName(found[2], found[1], found[3])


def hot_names(texts: Sequence[str]) -> tuple[ConceptName, ...]:
    """Names of concepts with their owners, "ada/bo" or "ada/bo@stable". Raises ConfigError for anything else."""
    names = []
    for text in texts:
        name = parse_name(text)
        if name is None or name.owner is None:
            raise ConfigError(f"hot concept '{text}' names no user's concept: write it as 'ada/bo'")
        names.append(name)
    return tuple(names)


def placeholders(*texts: str) -> tuple[ConceptName, ...]:
    """What looks like a concept in texts, each once, in order of appearance; whether it is one, a namespace decides."""
    found = (ConceptName(match[2], match[1], match[3]) for text in texts for match in _PLACEHOLDER.finditer(text))
    return tuple(dict.fromkeys(found))


def new_name(text: str) -> str:
    """`text` when a concept may be called that. Raises Refusal (400)."""
    try:
        return check_name(text)
    except ConceptError as error:
        raise wrong("invalid_name", str(error), "name") from error
