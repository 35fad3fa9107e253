"""What a replay did, for logs, answers of the service and examinations: everything asked, said and refused."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import ConfigDict

from unictokens.replay.settings import Parser

STRICT = ConfigDict(extra="forbid")
Composer = Literal["nobody", "rules", "exemplars"]


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """A question about the concept `concept` and its answer.

    about  the words of the prompt that it is asked for, "its hat"; "" where the model asked of itself
    said   what of the answer goes into the prompt, "a red hat"; "" when it is refused, and `why`; both are "" where it was only asked whether there is one
    """

    __pydantic_config__ = STRICT
    concept: str
    about: str
    question: str
    answer: str
    said: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A replay: `request` is what was asked for, `prompt` what is drawn; they are equal where nothing came of it.

    parser, exemplars  who looked for what must be known, and how many examples it saw
    composer           who put the answers into the prompt
    refused            what the model said in parsing and composing that was not used, with reasons
    calls              questions that the model was asked, those of parsing and composing included
    """

    __pydantic_config__ = STRICT
    request: str
    prompt: str
    parser: Parser
    exemplars: int = 0
    inquiries: tuple[Inquiry, ...] = ()
    refused: tuple[str, ...] = ()
    composer: Composer = "nobody"
    calls: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a response or a log."""
        return asdict(self)

    @property
    def lines(self) -> tuple[str, ...]:
        """For people, a line each: questions with their answers, what was refused, the prompt."""
        told = []
        for each in self.inquiries:
            end = f", so: {each.said}" if each.said else f", refused: {each.why}" if each.why else ""
            told.append(f"asked: {each.question} {each.answer!r}{end}")
        told += [f"refused: {reason}" for reason in self.refused]
        changed = "drawn" if self.prompt != self.request else "drawn as it was"
        return (*told, f"{changed}: {self.prompt}")
