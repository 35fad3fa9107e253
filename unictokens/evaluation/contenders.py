"""Who sits an exam: the learned tokens, and the controls against which a gain must be measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from unictokens.backbones.base import Backbone, Decoding, Sampling
from unictokens.concepts.bundle import ConceptBundle
from unictokens.data.records import ConceptRecord
from unictokens.pipeline import Pipeline

NAMES = ("tokens", "nothing", "text")
"""tokens: the concept's own rows. nothing: its name is a word like any other. text: a description in place of tokens ("TP" in
the paper's tables)."""
INVERSION = "inversion"
"""Rows of textual inversion, learned from drawing alone: what unified training must beat."""
REAL = "real"
"""The training photos themselves, each beside the others: how alike pictures of the concept can be. They sit no exam."""


@dataclass(frozen=True)
class Contender:
    """Answers and draws in one of the ways of `NAMES`, or as "inversion".

    before    said before every question
    stands    what is written for the concept's name in drawing prompts, None for the name itself
    """

    name: str
    pipeline: Pipeline
    before: str = ""
    stands: tuple[str, str] | None = None

    def answer(self, asked: Sequence[tuple[str, Path | None]], decoding: Decoding) -> list[str]:
        """Answers to (question, picture or None). Raises DataError for a picture that cannot be read."""
        return self.pipeline.ask_all([(self.before + question, picture) for question, picture in asked], decoding)

    def draw(self, prompt: str, seeds: Sequence[int], sampling: Sampling) -> list[Image.Image]:
        """One picture per seed of a prompt in which `<name>` stands for the concept."""
        return self.pipeline.draw(prompt.replace(*self.stands) if self.stands else prompt, seeds, sampling)


def contender(name: str, backbone: Backbone, bundle: ConceptBundle | None, record: ConceptRecord) -> Contender:
    """The contender of that name; only those with rows, "tokens" and "inversion", need a bundle. Raises ConceptError for one of another backbone."""
    if name in ("tokens", INVERSION):
        assert bundle is not None
        return Contender(name, Pipeline(backbone, [bundle]))
    bare = Pipeline(backbone, [])
    if name == "nothing":
        return Contender(name, bare)
    return Contender(name, bare, " ".join([record.info, *record.facts]) + "\n", (f"<{record.name}>", described(record)))


def described(record: ConceptRecord) -> str:
    """The concept in words, "a black dog with pink stripes": what its `info` says of it, without a full stop."""
    return record.info.removeprefix(f"<{record.name}> is ").rstrip(".")
