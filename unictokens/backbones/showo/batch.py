"""Training batches of Show-o: ids, labels and concept numbers as tensors, with padding that changes no loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unictokens.backbones.base import GenerationSample, MaskDraw, UnderstandingSample
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.errors import DataError


@dataclass(frozen=True, eq=False)
class Block:
    """Sequences of one kind.

    ids_BT       int64 [B, T]
    labels_BT    int64 [B, T] what each place itself is (IGNORE: no loss); who predicts it, the loss decides
    concepts_BS  int64 [B, S] bank index of each concept number, -1 where a row names fewer
    dropped      columns cut off on the left, so that places keep their position numbers
    """

    ids_BT: Tensor
    labels_BT: Tensor
    concepts_BS: Tensor
    dropped: int = 0

    @property
    def rows(self) -> int:
        """Batch size B."""
        return self.ids_BT.shape[0]

    def take(self, rows: list[int]) -> "Block":
        """Some of its rows."""
        return Block(self.ids_BT[rows], self.labels_BT[rows], self.concepts_BS[rows], self.dropped)

    def to(self, device: torch.device) -> "Block":
        """The block on another device."""
        return Block(self.ids_BT.to(device), self.labels_BT.to(device), self.concepts_BS.to(device), self.dropped)


@dataclass(frozen=True, eq=False)
class ShowOBatch:
    """Understanding sequences and drawing sequences of one step; either may be absent."""

    understanding: Block | None
    generation: Block | None


def concept_table(concepts: Sequence[tuple[int, ...]]) -> Tensor:
    """Concept numbers of all rows as int64 [B, S], filled up with -1."""
    longest = max((len(row) for row in concepts), default=0)
    return torch.tensor([[*row, *[-1] * (longest - len(row))] for row in concepts], dtype=torch.long)


def understanding_block(samples: Sequence[UnderstandingSample], sequences: Sequences, longest: int) -> Block:
    """Conversations, padded on the right to the longest of them.

    Raises DataError for a sample without turns and for one of more than `longest` ids.
    """
    rows, labels = [], []
    for sample in samples:
        if not sample.turns:
            raise DataError("an understanding sample has no turns: give it a question and an answer")
        prefix = sequences.image_prefix(sequences.code_ids(sample.codes_N))
        ids, told = sequences.conversation([(turn.question, turn.answer) for turn in sample.turns])
        if len(prefix) + len(ids) > longest:
            raise DataError(
                f"a conversation takes {len(ids)} text ids but the model reads {longest - len(prefix)} beside an image: shorten it"
            )
        rows.append(prefix + ids)
        labels.append([IGNORE] * len(prefix) + told)
    length = max(len(row) for row in rows)
    return Block(
        torch.tensor([row + [sequences.vocabulary.pad] * (length - len(row)) for row in rows]),
        torch.tensor([row + [IGNORE] * (length - len(row)) for row in labels]),
        concept_table([sample.concepts for sample in samples]),
    )


def generation_block(samples: Sequence[tuple[GenerationSample, MaskDraw]], sequences: Sequences) -> Block:
    """Drawings with hidden codes; padding that all rows share is cut off, which changes nothing that is seen."""
    rows, labels = [], []
    for sample, draw in samples:
        vocabulary = sequences.vocabulary
        codes_N = sample.codes_N + vocabulary.code_offset
        hidden_N = draw.masked_N.to(codes_N.device)
        text = sequences.text(() if draw.dropped else sample.prompt)
        ids = sequences.drawing(text, codes_N.masked_fill(hidden_N, vocabulary.mask).tolist())
        rows.append(ids)
        labels.append(sequences.drawing_labels(ids, codes_N.masked_fill(~hidden_N, IGNORE).tolist()))
    ids_BT, dropped = trim(torch.tensor(rows), sequences.vocabulary.pad)
    concepts_BS = concept_table([sample.concepts for sample, _ in samples])
    return Block(ids_BT, torch.tensor(labels)[:, dropped:], concepts_BS, dropped)


def trim(ids_BT: Tensor, pad: int) -> tuple[Tensor, int]:
    """Cut the padding columns on the left that all rows share; returns the rest and how many were cut."""
    kept = (ids_BT != pad).any(0).nonzero()
    dropped = int(kept[0]) if kept.numel() else 0
    return ids_BT[:, dropped:], dropped
