"""How knowledge is replayed."""

from dataclasses import dataclass
from typing import Literal, get_args

from unictokens.errors import ConfigError

Parser = Literal["rules", "exemplars"]
"""rules: patterns, which need no model. exemplars: the model itself, shown how (OmniPersona, section 3.2 and Figure 6b)."""
PARSERS: tuple[Parser, ...] = get_args(Parser)
MOST = 6
"""Exemplars in the paper's best result."""


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """Who reads the prompt. `exemplars` are how many the model is shown (0..6; of no meaning to the rules).

    max_tokens  longest answer and longest question, in tokens
    Raises ConfigError for a reader or number that does not exist.
    """

    parser: Parser = "rules"
    exemplars: int = MOST
    max_tokens: int = 40

    def __post_init__(self) -> None:
        if self.parser not in PARSERS:
            raise ConfigError(f"replay '{self.parser}' is unknown: choose {' or '.join(PARSERS)}")
        if not 0 <= self.exemplars <= MOST:
            raise ConfigError(f"{self.exemplars} exemplars are impossible: choose 0 to {MOST}")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens {self.max_tokens} leaves no room for an answer: choose 1 or more")

    @property
    def name(self) -> str:
        """`rules`, or `exemplars-4`; `named` reads it."""
        return self.parser if self.parser == "rules" else f"{self.parser}-{self.exemplars}"

    @classmethod
    def named(cls, name: str) -> "ReplaySettings":
        """The settings of that name. Raises ConfigError for one that means nothing."""
        for settings in (cls(), *(cls(parser="exemplars", exemplars=count) for count in range(MOST + 1))):
            if settings.name == name:
                return settings
        raise ConfigError(f"replay '{name}' is unknown: choose rules, or exemplars-0 to exemplars-{MOST}")
