"""Show-o behind the backbone protocol: transformer, image tokenizer and text tokenizer composed."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Generator, Tensor

from unictokens.backbones.base import (
    WHOLE,
    AnswerRequest,
    Attention,
    BackboneInfo,
    Decoding,
    Drawing,
    GenerationRequest,
    GenerationSample,
    Losses,
    MaskDraw,
    Sampling,
    Share,
    UnderstandingSample,
)
from unictokens.backbones.showo.answering import Answering
from unictokens.backbones.showo.attention import understanding_mask
from unictokens.backbones.showo.batch import ShowOBatch, concept_table, generation_block, understanding_block
from unictokens.backbones.showo.config import ShowOConfig
from unictokens.backbones.showo.drawing import DrawingTask
from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.losses import answer_losses, drawing_losses
from unictokens.backbones.showo.prefix import PrefixCache
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import Vocabulary
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.errors import ConfigError


class ShowO:
    """A Show-o of any size.

    `answer_start` puts the start id before questions, as the published inference does although training has none.
    `fingerprint` is the SHA-256 of the frozen weights; loading computes it.
    """

    def __init__(
        self,
        config: ShowOConfig,
        language_model: LanguageModel,
        magvit: Magvit,
        tokenizer: TextTokenizer,
        name: str = "show-o",
        fingerprint: str = "",
        answer_start: bool = True,
    ) -> None:
        self.config = config
        self.language_model = language_model
        self.magvit = magvit
        self.tokenizer = tokenizer
        self.vocabulary = Vocabulary.of(config, tokenizer.eot, tokenizer.size)
        self.sequences = Sequences(self.vocabulary, tokenizer, config.text_length)
        self.answer_start = answer_start
        self.prefixes = PrefixCache()
        self._name = name
        self._fingerprint = fingerprint

    @property
    def info(self) -> BackboneInfo:
        """What this backbone is."""
        return BackboneInfo(
            name=self._name,
            width=self.config.width,
            vocabulary=self.vocabulary.size,
            image_size=self.config.image_size,
            codes=self.config.num_vq_tokens,
            text_length=self.config.text_length,
            fingerprint=self._fingerprint,
        )

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.language_model.device

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "ShowO":
        """Move everything in place; `dtype` changes the transformer only (the image tokenizer decides signs in float32)."""
        self.language_model.to(device)
        self.magvit.to(device)
        if dtype is not None:
            self.language_model.cast(dtype)
        self.prefixes.clear()
        return self

    @property
    def weight_bytes(self) -> int:
        """Bytes of the transformer's weights."""
        return sum(parameter.nbytes for parameter in self.language_model.parameters())

    def keep_prefixes(self, device_bytes: int, host_bytes: int = 0) -> None:
        """Set how much memory keys and values of image prefixes may take (see `PrefixCache`); forgets those it has."""
        self.prefixes = PrefixCache(device_bytes, host_bytes)

    def tokenize(self, prompt: Prompt) -> list[int]:
        """Text ids; learned row r of concept number s is `vocabulary + s * ROW_STRIDE + r`."""
        return self.sequences.text(prompt)

    @torch.no_grad()
    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Images float32 [B, 3, image_size, image_size] in [-1, 1] to codes int64 [B, N] on the CPU.

        Raises ConfigError for another size.
        """
        size = self.config.image_size
        if tuple(images_BCHW.shape[1:]) != (3, size, size):
            raise ConfigError(
                f"images are {tuple(images_BCHW.shape[1:])}: this backbone reads 3x{size}x{size}; resize them first"
            )
        return self.magvit.codes(images_BCHW.to(self.device)).cpu()

    @torch.no_grad()
    def decode(self, codes_BN: Tensor) -> Tensor:
        """Codes int64 [B, N] to images float32 [B, 3, image_size, image_size] on the CPU, nominally in [-1, 1]."""
        return self.magvit.decode_codes(codes_BN.to(self.device)).float().cpu()

    @cached_property
    def black_codes_N(self) -> Tensor:
        """Codes int64 [N] of a black image, which stands where a question has no photo (as in the published data)."""
        return self.encode(-torch.ones(1, 3, self.config.image_size, self.config.image_size))[0]

    def word_rows(self, text: str) -> Tensor:
        """Embedding rows float32 [n, D] of the pieces of `text`, on the CPU."""
        ids = torch.tensor(self.tokenizer.encode_text(text), dtype=torch.long, device=self.device)
        return self.language_model.frozen_rows(ids).detach().float().cpu()

    def image_rows(self, codes: Tensor) -> Tensor:
        """Embedding rows float32 [..., D] of image codes int64 [...], on the CPU."""
        ids = codes.to(self.device) + self.vocabulary.code_offset
        return self.language_model.frozen_rows(ids).detach().float().cpu()

    def head_rows(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Head weights float32 [..., D] and biases [...] of image codes int64 [...], on the CPU."""
        ids = codes.to(self.device) + self.vocabulary.code_offset
        model = self.language_model
        return model.head_VD.detach()[ids].float().cpu(), model.bias_V.detach()[ids].float().cpu()

    def collate(
        self, understanding: Sequence[UnderstandingSample], generation: Sequence[tuple[GenerationSample, MaskDraw]]
    ) -> ShowOBatch:
        """One training batch; raises DataError for a conversation longer than the model reads."""
        longest = int(self.config.phi.get("max_position_embeddings", 2048))
        return ShowOBatch(
            understanding_block(understanding, self.sequences, longest) if understanding else None,
            generation_block(generation, self.sequences) if generation else None,
        )

    def losses(self, batch: ShowOBatch, bank: ConceptBank, share: Share = WHOLE) -> Losses:
        """Summed cross-entropies per sample over the full vocabulary and the sample's concept rows; zeros outside `share`.

        Understanding: answers, each place predicted by the one before. Drawing: hidden codes, start and end of image, each
        place predicting itself (Show-o section 3.4 as published).
        """
        bank = bank.to(self.device)
        model, ids = self.language_model, self.vocabulary
        none = torch.zeros(0, device=self.device)
        understanding, generation = (none, none), (none, none)
        if batch.understanding is not None:
            block, prefix = batch.understanding.to(self.device), self.config.num_vq_tokens + 3
            understanding = answer_losses(model, ids, prefix, block, bank, self.prefixes, share)
        if batch.generation is not None:
            block = batch.generation.to(self.device)
            generation = drawing_losses(model, ids, self.config.text_length, block, bank, share)
        return Losses(*understanding, *generation)

    def answer(
        self,
        requests: Sequence[AnswerRequest],
        bank: ConceptBank,
        decoding: Decoding,
        generator: Generator | None = None,
        on_token: Callable[[int, str], None] | None = None,
    ) -> list[str]:
        """One answer per request; questions of any lengths and concepts share each forward pass.

        `on_token(request, text)` streams pieces as they are decided.
        """
        if not requests:
            return []
        prefixes = [
            self.sequences.image_prefix(self.sequences.code_ids(self.black_codes_N if r.codes_N is None else r.codes_N))
            for r in requests
        ]
        questions = [self.sequences.question(request.question, self.answer_start) for request in requests]
        answering = Answering(self.language_model, self.vocabulary, self.tokenizer, bank.to(self.device))
        return answering.run(
            prefixes,
            questions,
            [request.concepts for request in requests],
            [request.names for request in requests],
            decoding,
            generator,
            on_token,
        )

    @torch.no_grad()
    def attention(self, request: AnswerRequest, bank: ConceptBank) -> Attention:
        """Where a question's text looks in its picture while it is read, up to the place that decides the answer's first word."""
        codes_N = self.black_codes_N if request.codes_N is None else request.codes_N
        prefix = self.sequences.image_prefix(self.sequences.code_ids(codes_N))
        ids_1T = torch.tensor(
            [[*prefix, *self.sequences.question(request.question, self.answer_start)]], device=self.device
        )
        concepts_1S = concept_table([request.concepts]).to(self.device)
        x_1TD = self.language_model.embed(ids_1T, bank.to(self.device), concepts_1S)
        mask = understanding_mask(len(prefix), ids_1T.shape[1]).to(self.device)
        layers = self.language_model.attention_weights(x_1TD, mask)
        # The prefix is task, start of image, codes, end of image.
        weights_LHTN = torch.stack([w_1HTT[0, :, len(prefix) :, 2 : len(prefix) - 1] for w_1HTT in layers]).cpu()
        return Attention(weights_LHTN, (ids_1T[0, len(prefix) :] >= self.vocabulary.size).cpu())

    def generate(self, requests: Sequence[GenerationRequest], bank: ConceptBank, sampling: Sampling) -> list[Drawing]:
        """One drawing per request; its seed alone decides its random numbers."""
        if not requests:
            return []
        task = DrawingTask(self.language_model, self.sequences, self.config.num_vq_tokens, bank.to(self.device))
        generators = [Generator(self.device).manual_seed(request.seed) for request in requests]
        texts = [self.sequences.text(request.prompt) for request in requests]
        return task.run(texts, [request.concepts for request in requests], sampling, generators)
