"""What a Show-o needs before it is there: bytes of its weights, of a step and of drawing, and how much these compute.

Counted from the way `layers` runs the layers. What autograd keeps per place and layer: the input of the layer's norm, the
query and key before their norms, turned query and key, the value and what attention saw, each D wide, and the wide inner
layer before its activation; weights are frozen, so linear layers keep nothing. Checked against the real thing by tests and
by `python -m benchmarks plan`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from unictokens.backbones.base import Turn
from unictokens.backbones.showo.config import ShowOConfig, read_config, read_json
from unictokens.backbones.showo.head import rows_at_once
from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.places import locate
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.tokenizer import TextTokenizer

KEPT = 7
"""D-wide tensors that autograd keeps per place and layer."""
PASSING = 8
"""D-wide tensors of one layer that exist at once beside these, on the way back; and so many wide ones:"""
PASSING_WIDE = 4
FLOAT = 4


@dataclass(frozen=True)
class Load:
    """Samples of one step.

    questions, question_ids  conversations, and all their text ids behind the images
    drawings, drawing_ids    drawings, and all their ids (text, image and its two ends)
    labels                   places that predict something
    """

    questions: int = 0
    question_ids: int = 0
    drawings: int = 0
    drawing_ids: int = 0
    labels: int = 0

    def __add__(self, other: "Load") -> "Load":
        return Load(
            self.questions + other.questions,
            self.question_ids + other.question_ids,
            self.drawings + other.drawings,
            self.drawing_ids + other.drawing_ids,
            self.labels + other.labels,
        )

    def times(self, count: int) -> "Load":
        """As much for `count` runs."""
        return sum([self] * count, Load())


class Demand:
    """Needs of a backbone whose transformer's weights are of `dtype`. Reads only its config and tokenizer.

    Raises CheckpointError, like loading.
    """

    def __init__(self, source: str, dtype: torch.dtype = torch.float32) -> None:
        places = locate(source)
        self.config: ShowOConfig = read_config(places.config, None if places.phi is None else read_json(places.phi))
        tokenizer = TextTokenizer.load(places.tokenizer)
        self._sequences = Sequences(
            Vocabulary.of(self.config, tokenizer.eot, tokenizer.size), tokenizer, self.config.text_length
        )
        with torch.device("meta"):
            model, self._magvit = LanguageModel(self.config.phi, self.config.vocab_size), Magvit(self.config.magvit)
        self._bytes = dtype.itemsize
        self._numbers = sum(parameter.numel() for parameter in model.parameters())
        self._largest_layer = sum(parameter.numel() for parameter in model.showo.model.layers[0].parameters())
        phi = model.showo.config
        self._D, self._I, self._layers = int(phi.hidden_size), int(phi.intermediate_size), int(phi.num_hidden_layers)
        self._prefix = self.config.num_vq_tokens + 3

    def question(self, turns: Sequence[Turn]) -> Load:
        """One conversation."""
        ids, labels = self._sequences.conversation([(turn.question, turn.answer) for turn in turns])
        return Load(questions=1, question_ids=len(ids), labels=sum(label != IGNORE for label in labels))

    def drawing(self, prompt: Prompt) -> Load:
        """One drawing of a training step, all codes hidden (which is the most)."""
        text = min(len(self._sequences.text(prompt)) + 3, self.config.text_length + 1)
        image = self.config.num_vq_tokens + 2
        return Load(drawings=1, drawing_ids=text + image, labels=image)

    @property
    def weight_bytes(self) -> int:
        """Weights of the transformer."""
        return self._numbers * self._bytes

    @property
    def resident_bytes(self) -> int:
        """What must be on the device when the weights wait elsewhere: both tables and two layers on their way."""
        tables = 2 * self.config.vocab_size * self._D
        return (tables + 2 * self._largest_layer) * self._bytes

    @property
    def image_tokenizer_bytes(self) -> int:
        """Weights of the image tokenizer, which are float32 always."""
        return sum(parameter.nbytes for parameter in self._magvit.parameters())

    @property
    def prefix_bytes(self) -> int:
        """Keys and values of one image prefix."""
        return 2 * self._layers * self._prefix * self._D * self._bytes

    @property
    def picture_bytes(self) -> int:
        """Most that encoding or decoding one picture takes: a few maps of the finest level."""
        return 6 * self.config.image_size**2 * self.config.magvit.base * FLOAT

    def step_bytes(self, load: Load, on_gpu: bool = False) -> int:
        """Most that a training step takes beside weights and kept prefixes."""
        D, I, places = self._D, self._I, load.question_ids + load.drawing_ids  # noqa: E741
        kept = self._layers * (places * (KEPT * D + I) + load.questions * self._prefix * 2 * D)
        passing = max(load.question_ids, load.drawing_ids) * (PASSING * D + PASSING_WIDE * I)
        columns = self.config.vocab_size
        # A GPU's products take slopes whose rows begin at even places: a copy.
        logits = min(load.labels, rows_at_once(columns, on_gpu)) * columns * FLOAT * (2 if on_gpu else 1)
        return (kept + passing) * self._bytes + logits

    def reading_bytes(self, questions: int) -> int:
        """Image prefixes of so many questions, which stay until their pass has ended, kept or not; a step copies them besides."""
        return questions * self.prefix_bytes

    def drawing_bytes(self, pictures: int) -> int:
        """Most that sampling so many pictures at once takes, with guidance: text that stays, then a layer or the logits."""
        D, rows = self._D, 2 * pictures
        places = rows * (self.config.num_vq_tokens + 2)
        text = 2 * self._layers * rows * self.config.text_length // 2 * D
        layer = places * (PASSING * D + 2 * self._I)
        # The logits of all places, and probabilities of those that are not the unconditional ones.
        logits = rows * self.config.num_vq_tokens * self.config.codebook_size * FLOAT * 3 // 2
        return text * self._bytes + max(layer * self._bytes, places * D * self._bytes + logits)

    def step_flops(self, load: Load) -> float:
        """Floating-point operations of a training step, there and back (no gradients of weights)."""
        image = self._prefix
        asked = self._layer_flops(load.question_ids, load.question_ids / max(1, load.questions) + image)
        drawn = self._layer_flops(load.drawing_ids, load.drawing_ids / max(1, load.drawings))
        head = 2.0 * load.labels * self.config.vocab_size * self._D
        return 2.0 * (self._layers * (asked + drawn) + head)

    def prefix_flops(self) -> float:
        """Operations of reading one image."""
        return self._layers * self._layer_flops(self._prefix, self._prefix)

    def drawing_flops(self, steps: int) -> float:
        """Operations of sampling one picture, with guidance."""
        places = 2 * (self.config.num_vq_tokens + 2)
        step = self._layers * self._layer_flops(places, places / 2 + self.config.text_length / 2)
        head = 2.0 * places * self.config.codebook_size * self._D
        return steps * (step + head)

    def encode_flops(self) -> float:
        """Operations of encoding one picture."""
        size = self.config.image_size
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self._magvit.encode_bits(torch.empty(1, 3, size, size, device="meta"))
        return float(counter.get_total_flops())

    def _layer_flops(self, places: float, keys: float) -> float:
        return 2.0 * places * (4 * self._D**2 + 2 * self._D * self._I) + 4.0 * places * keys * self._D
