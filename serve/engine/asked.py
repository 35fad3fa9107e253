"""What can be asked of the engine, checked when it is made."""

import math
from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from unictokens.backbones.base import Decoding, Sampling, Turn
from unictokens.concepts.prompt import Prompt, Rows
from unictokens.errors import RequestError

SEEDS = 2**63


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """A drawing. Raises RequestError for impossible values.

    user         whose turn it is: the engine is fair between users
    concepts     references, in the order in which the prompt counts them; whatever the engine's `load` understands
    sampling     `trace` lists the 1-based steps after which an unfinished picture is shown
    seconds      after which the request ends with TimedOut; None for the engine's longest
    picture_CHW  float32 [3, S, S] in [-1, 1], redrawn where redraw_N (bool [N], codes in rows) is true; or both None
    """

    user: str
    prompt: Prompt
    concepts: tuple[Hashable, ...] = ()
    seed: int = 0
    sampling: Sampling = Sampling()
    seconds: float | None = None
    picture_CHW: Tensor | None = None
    redraw_N: Tensor | None = None

    def __post_init__(self) -> None:
        how = self.sampling
        _check_common(self.seed, self.seconds)
        _check(how.steps >= 1, "steps", how.steps, "draw at least one step")
        for name, value in (("guidance", how.guidance), ("temperature", how.temperature)):
            _check(math.isfinite(value) and value >= 0.0, name, value, "choose a number from 0 on")
        _check(all(1 <= step <= how.steps for step in how.trace), "trace", how.trace, f"name steps 1 to {how.steps}")
        if (self.picture_CHW is None) != (self.redraw_N is None):
            raise RequestError("redrawing takes a picture and a mask: give both or neither")

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All text that may hold learned rows."""
        return (self.prompt,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ask:
    """A question, last of the `turns` of a conversation, about a picture or about none. Raises RequestError as above.

    names        what the answer calls the concepts, in the order of `concepts`
    picture_CHW  float32 [3, S, S] in [-1, 1]
    """

    user: str
    turns: tuple[Turn, ...]
    concepts: tuple[Hashable, ...] = ()
    names: tuple[str, ...] = ()
    seed: int = 0
    decoding: Decoding = Decoding()
    seconds: float | None = None
    picture_CHW: Tensor | None = None

    def __post_init__(self) -> None:
        how = self.decoding
        _check_common(self.seed, self.seconds)
        _check(how.max_tokens >= 1, "max_tokens", how.max_tokens, "allow at least one")
        _check(how.top_k >= 1, "top_k", how.top_k, "1 is greedy, more is a draw")
        _check(
            math.isfinite(how.temperature) and how.temperature > 0.0,
            "temperature",
            how.temperature,
            "choose a number above 0, or top_k 1 for the likeliest answer",
        )

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All text that may hold learned rows."""
        return tuple(prompt for turn in self.turns for prompt in (turn.question, turn.answer))


Asked = Draw | Ask


def learned_rows(asked: Asked) -> dict[int, int]:
    """The highest learned row that the text uses of each concept number."""
    highest: dict[int, int] = {}
    for prompt in asked.prompts:
        for piece in prompt:
            if isinstance(piece, Rows) and piece.rows:
                highest[piece.concept] = max(highest.get(piece.concept, 0), *piece.rows)
    return highest


def _check_common(seed: int, seconds: float | None) -> None:
    _check(0 <= seed < SEEDS, "seed", seed, "choose a number from 0 to 2**63 - 1")
    if seconds is not None:
        _check(math.isfinite(seconds) and seconds > 0.0, "seconds", seconds, "choose a time above 0")


def _check(fine: bool, name: str, value: object, fix: str) -> None:
    if not fine:
        raise RequestError(f"{name} is {value}: {fix}")
