"""Asking about concepts and drawing them: a frozen backbone, some published concepts, plain text in and out.

A user writes `<bo>` where the concept should be; the name becomes learned rows here, by position. Anything else that looks
like a token stays text.
"""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Generator, Tensor

from unictokens.backbones.base import AnswerRequest, Backbone, Decoding, GenerationRequest, Sampling
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.prompt import Prompt, fill, identifier, join
from unictokens.errors import ConceptError
from unictokens.images import View, load_image, to_pictures, to_tensor, view_image

log = logging.getLogger(__name__)

PLACEHOLDER = re.compile(r"<([A-Za-z0-9_-]{1,64})>")
DRAWN_AT_ONCE = 8
ASKED_AT_ONCE = 16


class Pipeline:
    """A backbone with the concepts that its prompts may name.

    Raises ConceptError for a concept of another backbone (by fingerprint) and for two concepts of one name.
    """

    def __init__(self, backbone: Backbone, bundles: Sequence[ConceptBundle], device: str = "cpu") -> None:
        self._backbone = backbone
        self._bundles = tuple(bundles)
        names = [bundle.card.name for bundle in bundles]
        for name in names:
            if names.count(name) > 1:
                raise ConceptError(f"concept '{name}' is given twice: one prompt can use one version of it")
        for bundle in bundles:
            bundle.require_backbone(backbone.info)
        self._device = device
        bank = ConceptBank.stack([bundle.tokens for bundle in bundles]) if bundles else None
        self._bank = (bank or ConceptBank.empty(backbone.info.width)).to(device)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the concepts, in bank order."""
        return tuple(bundle.card.name for bundle in self._bundles)

    @property
    def bare(self) -> "Pipeline":
        """The same backbone without any concept: their names are words to it."""
        return Pipeline(self._backbone, [], self._device)

    def ask(
        self,
        question: str,
        photo: Path | None = None,
        *,
        decoding: Decoding | None = None,
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
    ) -> str:
        """The answer to a question about a photo, or about none.

        Every concept is introduced before the question ("<bo> is <its soft tokens>.", paper section 3.2).
        on_text  gets pieces of the answer as they are decided
        Raises DataError for a photo that cannot be read.
        """
        request = self._request(question, photo)
        speak = None if on_text is None else (lambda _, text: on_text(text))
        generator = Generator().manual_seed(seed)
        chosen = decoding if decoding is not None else Decoding()
        return self._backbone.answer([request], self._bank, chosen, generator, speak)[0].strip()

    def ask_all(self, asked: Sequence[tuple[str, Path | None]], decoding: Decoding | None = None) -> list[str]:
        """Answers to many (question, photo or None), a few in one pass. Raises DataError for a photo that cannot be read."""
        chosen = decoding if decoding is not None else Decoding()
        answers: list[str] = []
        for start in range(0, len(asked), ASKED_AT_ONCE):
            requests = [self._request(question, photo) for question, photo in asked[start : start + ASKED_AT_ONCE]]
            answers += self._backbone.answer(requests, self._bank, chosen, Generator().manual_seed(0))
        return [answer.strip() for answer in answers]

    def draw(self, prompt: str, seeds: Sequence[int], sampling: Sampling | None = None) -> list[Image.Image]:
        """One picture per seed; `<bo>` in the prompt stands for the concept.

        Raises ConceptError for a prompt that names none of the concepts given.
        """
        resolved = self._resolve(prompt, {name: bundle.card.subject(at) for at, name, bundle in self._each()})
        if self._bundles and not any(f"<{name}>" in prompt for name in self.names):
            raise ConceptError(
                f"the prompt {prompt[:80]!r} does not name the concept: write <{self.names[0]}> where it should be"
            )
        chosen = sampling if sampling is not None else Sampling()
        pictures: list[Image.Image] = []
        for start in range(0, len(seeds), DRAWN_AT_ONCE):
            part = seeds[start : start + DRAWN_AT_ONCE]
            requests = [GenerationRequest(resolved, seed, self._concepts) for seed in part]
            drawings = self._backbone.generate(requests, self._bank, chosen)
            pictures += to_pictures(self._backbone.decode(torch.stack([drawing.codes_N for drawing in drawings])))
        return pictures

    def _request(self, question: str, photo: Path | None) -> AnswerRequest:
        asked = self._resolve(question, {name: identifier(bundle.card.layout, at) for at, name, bundle in self._each()})
        return AnswerRequest(join(*self._introductions(), asked), self._codes(photo), self._concepts, self.names)

    @property
    def _concepts(self) -> tuple[int, ...]:
        return tuple(range(len(self._bundles))) or (0,)

    def _each(self) -> list[tuple[int, str, ConceptBundle]]:
        return [(at, bundle.card.name, bundle) for at, bundle in enumerate(self._bundles)]

    def _introductions(self) -> list[str | Prompt]:
        # Each as in training: the sentence, a line break, then what follows.
        said: list[str | Prompt] = []
        for at, bundle in enumerate(self._bundles):
            if sentence := bundle.card.introduction(at):
                said += [sentence, "\n"]
        return said

    def _resolve(self, text: str, stands_for: dict[str, Prompt]) -> Prompt:
        unknown = sorted({name for name in PLACEHOLDER.findall(text) if name not in stands_for})
        if unknown and self._bundles:  # without any concept nobody expects one
            log.warning("<%s> is no concept of this call and stays plain text", ">, <".join(unknown))
        return fill(text, stands_for)

    def _codes(self, photo: Path | None) -> Tensor | None:
        if photo is None:
            return None
        size = self._backbone.info.image_size
        picture = view_image(load_image(photo), View(size, size))
        return self._backbone.encode(to_tensor(picture)[None])[0]
