"""How much the engine does at once, lets wait, and keeps."""

from dataclasses import dataclass, fields

from unictokens.errors import ConfigError
from unictokens.memory import MIB


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Raises ConfigError for a number that is not above 0.

    canvases          drawings under way at once
    speeches          answers under way at once
    tick_seconds      longest that one pass should take: fewer drawings are under way where more would take longer, because
                      whoever comes anew waits until a pass ends
    waiting           requests that may wait, for each task
    waiting_of_user   of them, one user's
    longest_seconds   no request may take longer; a request may ask for less
    concepts          that one request may name
    concept_bytes     memory for rows of concepts that nobody uses now
    photos            pictures whose codes are kept
    """

    canvases: int = 8
    speeches: int = 16
    tick_seconds: float = 0.25
    waiting: int = 64
    waiting_of_user: int = 16
    longest_seconds: float = 300.0
    concepts: int = 8
    concept_bytes: int = 512 * MIB
    photos: int = 512

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not value > 0:
                raise ConfigError(f"engine.{each.name} is {value}: choose a number above 0")
