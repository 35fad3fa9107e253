"""Who sits an exam: the learned tokens, and the controls against which a gain must be measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from unictokens.backbones.base import Backbone, Decoding, Sampling
from unictokens.concepts.bundle import ConceptBundle
from unictokens.data.records import ConceptRecord
from unictokens.pipeline import Pipeline
from unictokens.replay.replay import replay
from unictokens.replay.settings import ReplaySettings
from unictokens.replay.trace import Trace

NAMES = ("tokens", "nothing", "text")
"""tokens: the concept's own rows. nothing: its name is a word like any other. text: a description in place of tokens ("TP" in
the paper's tables)."""
INVERSION = "inversion"
"""Rows of textual inversion, learned from drawing alone: what unified training must beat."""
REPLAY = "replay-"
"""Before a replay's name, "replay-rules": the concept's own rows, which are asked what a drawing prompt needs to know before it is drawn. Its answers
to questions would be those of "tokens", so it is asked none."""
REAL = "real"
"""The training photos themselves, each beside the others: how alike pictures of the concept can be. They sit no exam."""


@dataclass(frozen=True)
class Contender:
    """Answers and draws in one of the ways of `NAMES`, as "inversion", or with a replay.

    before    said before every question
    stands    what is written for the concept's name in drawing prompts, None for the name itself
    replays   how knowledge is replayed before a drawing, None for not at all
    """

    name: str
    pipeline: Pipeline
    before: str = ""
    stands: tuple[str, str] | None = None
    replays: ReplaySettings | None = None

    def answer(self, asked: Sequence[tuple[str, Path | None]], decoding: Decoding) -> list[str]:
        """Answers to (question, picture or None). Raises DataError for a picture that cannot be read."""
        return self.pipeline.ask_all([(self.before + question, picture) for question, picture in asked], decoding)

    def recall(self, prompt: str) -> Trace | None:
        """What is replayed for a drawing prompt, None without a replay."""
        return None if self.replays is None else replay(self.pipeline, prompt, self.replays)

    def draw(self, prompt: str, seeds: Sequence[int], sampling: Sampling) -> list[Image.Image]:
        """One picture per seed of a prompt in which `<name>` stands for the concept."""
        return self.pipeline.draw(prompt.replace(*self.stands) if self.stands else prompt, seeds, sampling)


def contender(name: str, backbone: Backbone, bundle: ConceptBundle | None, record: ConceptRecord) -> Contender:
    """The contender of that name; only those with rows (see `has_rows`) need a bundle.

    Raises ConceptError for one of another backbone, ConfigError for a replay that does not exist.
    """
    if has_rows(name):
        assert bundle is not None
        replays = ReplaySettings.named(name.removeprefix(REPLAY)) if name.startswith(REPLAY) else None
        return Contender(name, Pipeline(backbone, [bundle]), replays=replays)
    bare = Pipeline(backbone, [])
    if name == "nothing":
        return Contender(name, bare)
    return Contender(name, bare, " ".join([record.info, *record.facts]) + "\n", (f"<{record.name}>", described(record)))


def has_rows(name: str) -> bool:
    """Whether a contender has learned something, as opposed to a control."""
    return name in ("tokens", INVERSION) or name.startswith(REPLAY)


def described(record: ConceptRecord) -> str:
    """The concept in words, "a black dog with pink stripes": what its `info` says of it, without a full stop."""
    return record.info.removeprefix(f"<{record.name}> is ").rstrip(".")
