"""Show-o behind the backbone protocol: transformer, image tokenizer and text tokenizer composed."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unictokens.backbones.base import (
    AnswerRequest,
    BackboneInfo,
    Decoding,
    Drawing,
    GenerationRequest,
    GenerationSample,
    Losses,
    MaskDraw,
    Sampling,
    UnderstandingSample,
)
from unictokens.backbones.showo.answering import Answering
from unictokens.backbones.showo.attention import drawing_mask, understanding_mask
from unictokens.backbones.showo.batch import Block, ShowOBatch, generation_block, understanding_block
from unictokens.backbones.showo.config import ShowOConfig
from unictokens.backbones.showo.drawing import DrawingTask
from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
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
        return self.language_model.embed_VD.device

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "ShowO":
        """Move everything in place; `dtype` changes the transformer only (the image tokenizer decides signs in float32)."""
        self.language_model.to(device)
        self.magvit.to(device)
        if dtype is not None:
            self.language_model.cast(dtype)
        return self

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
        return self.language_model.embed_VD.detach()[ids].float().cpu()

    def image_rows(self, codes: Tensor) -> Tensor:
        """Embedding rows float32 [..., D] of image codes int64 [...], on the CPU."""
        ids = codes.to(self.device) + self.vocabulary.code_offset
        return self.language_model.embed_VD.detach()[ids].float().cpu()

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

    def losses(self, batch: ShowOBatch, bank: ConceptBank) -> Losses:
        """Summed cross-entropies per sample over the full vocabulary and the sample's concept rows.

        Understanding: answers, each place predicted by the one before. Drawing: hidden codes, start and end of image, each
        place predicting itself (Show-o section 3.4 as published).
        """
        bank = bank.to(self.device)
        none = torch.zeros(0, device=self.device)
        understanding, generation = (none, none), (none, none)
        if batch.understanding is not None:
            block = batch.understanding.to(self.device)
            mask = understanding_mask(self.config.num_vq_tokens + 3, block.ids_BT.shape[1]).to(self.device)
            understanding = self._loss(block, mask, block.labels_BT[:, 1:], bank)
        if batch.generation is not None:
            block = batch.generation.to(self.device)
            ids = self.vocabulary
            mask = drawing_mask(block.ids_BT, ids.pad, ids.soi, ids.eoi)
            labels_BT = block.labels_BT.clone()
            labels_BT[:, : self.config.text_length + 1 - block.dropped] = IGNORE
            generation = self._loss(block, mask, labels_BT, bank)
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

    def generate(self, requests: Sequence[GenerationRequest], bank: ConceptBank, sampling: Sampling) -> list[Drawing]:
        """One drawing per request; its seed alone decides its random numbers."""
        if not requests:
            return []
        task = DrawingTask(self.language_model, self.sequences, self.config.num_vq_tokens, bank.to(self.device))
        generators = [Generator(self.device).manual_seed(request.seed) for request in requests]
        texts = [self.sequences.text(request.prompt) for request in requests]
        return task.run(texts, [request.concepts for request in requests], sampling, generators)

    def _loss(self, block: Block, mask: Tensor, labels_BT: Tensor, bank: ConceptBank) -> tuple[Tensor, Tensor]:
        """Summed loss and count per row; labels_BT [B, T or T - 1] belong to the hidden states at the same places."""
        model = self.language_model
        x_BTD = model.embed(block.ids_BT, bank, block.concepts_BS)
        positions = torch.arange(block.ids_BT.shape[1], device=self.device)[None] + block.dropped
        h_BTD = model.hidden(x_BTD, mask, positions)
        rows_M, places_M = (labels_BT != IGNORE).nonzero(as_tuple=True)
        logits_MV = model.logits(h_BTD[rows_M, places_M], bank, block.concepts_BS[rows_M])
        columns_M = self.vocabulary.columns(labels_BT[rows_M, places_M], bank.rows)
        losses_M = functional.cross_entropy(logits_MV, columns_M, reduction="none")
        zeros_B = torch.zeros(block.rows, device=self.device)
        return zeros_B.index_add(0, rows_M, losses_M), zeros_B.index_add(0, rows_M, torch.ones_like(losses_M))
