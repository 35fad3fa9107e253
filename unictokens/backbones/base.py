"""The narrow waist: all that methods, training, evaluation and serving know of a unified model.

The backbone owns sequence format, masks and losses; whoever calls it owns the loop and the random numbers.
Every batch row names its concepts by index into a bank, so any mix of concepts shares one forward pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Generator, Tensor

from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.prompt import Prompt


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """What a backbone is. `fingerprint` is a SHA-256 over its frozen weights: concept rows fit only the model they grew on."""

    name: str
    width: int
    vocabulary: int
    image_size: int
    codes: int
    text_length: int
    fingerprint: str


@dataclass(frozen=True)
class Turn:
    """One question and, in training, its answer. Both may contain learned rows."""

    question: Prompt
    answer: Prompt = ()


@dataclass(frozen=True, eq=False)
class UnderstandingSample:
    """A conversation about one image: codes_N int64 [N]; `concepts` are bank indices in the order the prompt counts them."""

    codes_N: Tensor
    turns: tuple[Turn, ...]
    concepts: tuple[int, ...] = (0,)


@dataclass(frozen=True, eq=False)
class MaskDraw:
    """The random part of one drawing sample in one step (Show-o training objective).

    masked_N  bool [N]  codes hidden from the model and to be predicted, at least one
    dropped   True where the text condition is replaced by the empty prompt
    """

    masked_N: Tensor
    dropped: bool = False


@dataclass(frozen=True, eq=False)
class GenerationSample:
    """A prompt and the image it describes: codes_N int64 [N]."""

    codes_N: Tensor
    prompt: Prompt
    concepts: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Share:
    """The samples that one of several processes computes: every `of`-th of each kind, from number `number` on.

    Whatever its share, a process calls the same layers in the same order as the others, so that they can lend each other
    the weights: without a sample of its own it computes the first one, for nothing.
    """

    number: int = 0
    of: int = 1

    def rows(self, samples: int) -> tuple[list[int], float]:
        """The numbers of the samples to compute, and what their results are multiplied by (0 when they are not its own)."""
        mine = list(range(self.number, samples, self.of))
        return (mine, 1.0) if mine else ([0], 0.0)


WHOLE = Share()
"""All samples."""


@dataclass(frozen=True, eq=False)
class Losses:
    """Summed cross-entropies and how many terms each has, per sample of the batch, float32.

    The mean over a group of samples is `total.sum() / count.sum()`; keeping sums lets many runs share a batch.
    """

    understanding_total_U: Tensor
    understanding_count_U: Tensor
    generation_total_G: Tensor
    generation_count_G: Tensor


@dataclass(frozen=True, eq=False)
class AnswerRequest:
    """A question about an image (codes_N int64 [N]) or, with None, about none; learned rows may introduce it.

    `names` are what the answer calls the concepts, in the order of `concepts` (`("bo",)` makes it say "<bo>").
    """

    question: Prompt
    codes_N: Tensor | None = None
    concepts: tuple[int, ...] = (0,)
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How text is decoded: greedy unless `top_k` is above 1; `temperature` divides logits."""

    max_tokens: int = 100
    top_k: int = 1
    temperature: float = 1.0


@dataclass(frozen=True)
class GenerationRequest:
    """A drawing prompt and the seed that alone decides its random numbers."""

    prompt: Prompt
    seed: int
    concepts: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """MaskGIT decoding: `steps`, classifier-free `guidance` (0 turns it off), start `temperature` of the remasking noise.

    `trace` lists 1-based steps whose sampled codes, before remasking, are kept.
    """

    steps: int = 50
    guidance: float = 5.0
    temperature: float = 1.0
    trace: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Drawing:
    """codes_N int64 [N] of the finished image, and the codes at each traced step (1-based)."""

    codes_N: Tensor
    trace: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Attention:
    """Where the text of a question looks in its picture, for pictures of it.

    weights_LHTN  float32 [layers, heads, T, N]  attention of each text place to each image code; the rest is on other places
    learned_T     bool [T]                       text places that are learned rows
    """

    weights_LHTN: Tensor
    learned_T: Tensor


class Backbone(Protocol):
    """A frozen unified model. All tensors it returns are detached unless stated."""

    @property
    def info(self) -> BackboneInfo: ...

    def tokenize(self, prompt: Prompt) -> list[int]:
        """Text ids; a learned row r of the prompt's concept s is `vocabulary + s * stride + r` (see the implementation)."""
        ...

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Codes int64 [B, N] of float32 images in [-1, 1], shape [B, 3, image_size, image_size]."""
        ...

    def decode(self, codes_BN: Tensor) -> Tensor:
        """Images float32 [B, 3, image_size, image_size], nominally in [-1, 1], of codes int64 [B, N]."""
        ...

    def word_rows(self, text: str) -> Tensor:
        """Embedding rows float32 [n, D] of the pieces of `text`."""
        ...

    def image_rows(self, codes: Tensor) -> Tensor:
        """Embedding rows float32 [..., D] of image codes int64 [...]."""
        ...

    def head_rows(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Output-head weights float32 [..., D] and biases [...] of image codes int64 [...]: where new head rows start."""
        ...

    def collate(
        self, understanding: Sequence[UnderstandingSample], generation: Sequence[tuple[GenerationSample, MaskDraw]]
    ) -> Any:
        """One training batch; what it contains is the backbone's business."""
        ...

    def losses(self, batch: Any, bank: ConceptBank, share: Share = WHOLE) -> Losses:
        """Losses of a batch, with the graph to the rows of `bank`; zeros for samples outside `share`."""
        ...

    def answer(
        self,
        requests: Sequence[AnswerRequest],
        bank: ConceptBank,
        decoding: Decoding,
        generator: Generator | None = None,
        on_token: Callable[[int, str], None] | None = None,
    ) -> list[str]:
        """One answer per request; `on_token(request, text)` streams pieces as they are decided."""
        ...

    def generate(self, requests: Sequence[GenerationRequest], bank: ConceptBank, sampling: Sampling) -> list[Drawing]:
        """One drawing per request; a request's result does not depend on its neighbours' seeds."""
        ...
