"""Show-o one step at a time (`backbones.steps.Stepper`): drawings on an easel, answers in a talk."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unictokens.backbones.base import BackboneInfo, Decoding, Sampling, Turn
from unictokens.backbones.showo.answering import Wording
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.easel import Easel
from unictokens.backbones.showo.prefix import prefix_key
from unictokens.backbones.showo.talk import Talk
from unictokens.backbones.steps import Canvas, Speech
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import RequestError

DRAWING_EXTRAS = 3
"""Ids of a drawing's text that are not the prompt's: task, start, end."""


class ShowOStepper:
    """Steps of a Show-o. In float32 on the CPU a request gets the same bits alone as among others (see `dense`)."""

    def __init__(self, backbone: ShowO) -> None:
        self.backbone = backbone
        self.easel = Easel(backbone.language_model, backbone.sequences, backbone.config.num_vq_tokens)
        wording = Wording(backbone.vocabulary, backbone.tokenizer)
        self.talk = Talk(backbone.language_model, backbone.vocabulary, wording)

    @property
    def info(self) -> BackboneInfo:
        """What the backbone is."""
        return self.backbone.info

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.backbone.device

    @property
    def prefix_reads(self) -> tuple[int, int]:
        """Hits and misses of the backbone's prefix cache."""
        return self.backbone.prefixes.hits, self.backbone.prefixes.misses

    def drawing_ids(self, prompt: Prompt) -> list[int]:
        """Text ids of a drawing prompt. Raises RequestError when it is too long."""
        ids, room = self.backbone.tokenize(prompt), self.backbone.config.text_length + 1 - DRAWING_EXTRAS
        if len(ids) > room:
            raise RequestError(f"the prompt takes {len(ids)} tokens, a drawing has room for {room}: shorten it")
        return ids

    def question_ids(self, turns: Sequence[Turn], max_tokens: int) -> list[int]:
        """Text ids of a conversation that wants an answer. Raises RequestError when it is too long or has no turn."""
        if not turns:
            raise RequestError("a conversation without a question has no answer: give at least one turn")
        sequences, config = self.backbone.sequences, self.backbone.config
        told, _ = sequences.conversation([(turn.question, turn.answer) for turn in turns[:-1]])
        started = [sequences.vocabulary.eot] if self.backbone.answer_start else []
        ids = [*started, *told, *sequences.question(turns[-1].question, answer_start=False)]
        places = int(config.phi.get("max_position_embeddings", 2048))
        room = places - (config.num_vq_tokens + 3) - max_tokens
        if len(ids) > room:
            raise RequestError(
                f"the conversation takes {len(ids)} tokens, beside a picture and an answer of up to {max_tokens} there is "
                f"room for {max(0, room)}: shorten it or ask for fewer"
            )
        return ids

    def codes(self, picture_CHW: Tensor) -> Tensor:
        """Codes of a picture."""
        return self.backbone.encode(picture_CHW[None])[0]

    def forget_picture(self, codes_N: Tensor) -> None:
        """Drop a picture's keys and values."""
        self.backbone.prefixes.drop(prefix_key(self._prefix(codes_N)))

    def pictures(self, codes_BN: Tensor) -> Tensor:
        """Pictures of codes: on the CPU one by one, because kernels for several add up in another order."""
        if self.device.type != "cpu":
            return self.backbone.decode(codes_BN)
        return torch.cat([self.backbone.decode(codes_1N) for codes_1N in codes_BN.split(1)])

    def open_canvas(
        self,
        ids: Sequence[int],
        concepts: Sequence[ConceptTokens],
        sampling: Sampling,
        seed: int,
        start_N: Tensor | None = None,
    ) -> Canvas:
        """Begin a drawing."""
        return self.easel.open(ids, concepts, sampling, seed, start_N)

    def draw(self, canvases: Sequence[Canvas]) -> None:
        """One step of each canvas."""
        self.easel.draw(canvases)

    def open_speech(
        self,
        ids: Sequence[int],
        codes_N: Tensor | None,
        concepts: Sequence[ConceptTokens],
        names: Sequence[str],
        decoding: Decoding,
        seed: int,
    ) -> Speech:
        """Begin an answer; where there is no picture a black one stands."""
        shown_N = self.backbone.black_codes_N if codes_N is None else codes_N
        return self.talk.open(self._prefix(shown_N), ids, concepts, names, decoding, seed, self.backbone.prefixes)

    def speak(self) -> None:
        """The next id of every open answer."""
        self.talk.speak()

    def close_speech(self, speech: Speech) -> None:
        """Forget an answer."""
        self.talk.close(speech)

    def heard(self, speech: Speech) -> str:
        """What was said since the last call."""
        return self.talk.heard(speech)

    def text(self, speech: Speech) -> str:
        """All that was said."""
        return self.talk.text(speech)

    def _prefix(self, codes_N: Tensor) -> list[int]:
        return self.backbone.sequences.image_prefix(self.backbone.sequences.code_ids(codes_N))
