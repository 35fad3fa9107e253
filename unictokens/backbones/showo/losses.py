"""Summed cross-entropies of training blocks, computed only where something is learned or labelled."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unictokens.backbones.base import WHOLE, Share
from unictokens.backbones.showo.attention import drawing_mask, understanding_mask
from unictokens.backbones.showo.batch import Block
from unictokens.backbones.showo.head import label_losses
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.layers import hidden_at, prefix_keys
from unictokens.backbones.showo.prefix import PrefixCache
from unictokens.backbones.showo.ragged import Ragged
from unictokens.backbones.showo.sight import Behind, Drawn, Masked, Sight
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.concepts.bank import ConceptBank

Sums = tuple[Tensor, Tensor]
"""Per sequence of a block: summed cross-entropies and their number, float32 [B]."""


def answer_losses(
    model: LanguageModel,
    vocabulary: Vocabulary,
    prefix: int,
    block: Block,
    bank: ConceptBank,
    prefixes: PrefixCache,
    share: Share,
) -> Sums:
    """Answers, each place predicted by the one before; the first `prefix` ids of a row are task and image."""
    # Nothing is read before where the end of the image predicts too (Show-o's own pretraining), or where the tables learn.
    early = bool((block.labels_BT[:, : prefix + 1] != IGNORE).any())
    first = 0 if early or model.embed_VD.requires_grad else prefix
    # Everybody who shares the pass reads all images: what is kept of them, and so what is read next time, is then the same.
    seen = block.ids_BT[:, :first].cpu().numpy() if first else []  # one transfer, not one per row
    read = [
        prefixes.get(key.tobytes(), lambda ids_P=ids_P: prefix_keys(model, model.frozen_rows(ids_P)))
        for key, ids_P in zip(seen, block.ids_BT[:, :first], strict=False)
    ]

    def sums(block: Block, rows: list[int]) -> Sums:
        ids_BT, told_BT = block.ids_BT[:, first:], block.labels_BT[:, first:]
        labels_BT = torch.cat([told_BT[:, 1:], torch.full_like(told_BT[:, :1], IGNORE)], dim=1)
        real_BT, before = ids_BT != vocabulary.pad, [read[row] for row in rows] if read else []
        sight = Behind(prefix) if before else Masked(understanding_mask(prefix, ids_BT.shape[1], ids_BT.device))
        asked = _Asked(ids_BT, labels_BT, block.concepts_BS, Ragged.where(real_BT), first, sight, before)
        return _sums(model, vocabulary, asked, bank, share)

    return _shared(block, share, sums)


def drawing_losses(
    model: LanguageModel, vocabulary: Vocabulary, text_length: int, block: Block, bank: ConceptBank, share: Share
) -> Sums:
    """Hidden codes, start and end of image, each place predicting itself (Show-o section 3.4 as published)."""

    def sums(block: Block, rows: list[int]) -> Sums:
        labels_BT, text = block.labels_BT.clone(), text_length + 1 - block.dropped
        labels_BT[:, :text] = IGNORE
        places, sight = Ragged.where(block.ids_BT != vocabulary.pad), Drawn(text)
        if not places.full:
            sight = Masked(drawing_mask(block.ids_BT, vocabulary.pad, vocabulary.soi, vocabulary.eoi))
        asked = _Asked(block.ids_BT, labels_BT, block.concepts_BS, places, block.dropped, sight, [])
        return _sums(model, vocabulary, asked, bank, share)

    return _shared(block, share, sums)


def _shared(block: Block, share: Share, sums: Callable[[Block, list[int]], Sums]) -> Sums:
    """Sums of the rows of a share at their places among zeros; `sums` gets these rows and their numbers."""
    if share == WHOLE:
        return sums(block, list(range(block.rows)))
    rows, weight = share.rows(block.rows)
    totals_R, counts_R = sums(block.take(rows), rows)
    rows_R = torch.tensor(rows, device=totals_R.device)
    zeros_B = totals_R.new_zeros(block.rows)
    return zeros_B.index_add(0, rows_R, weight * totals_R), zeros_B.index_add(0, rows_R, weight * counts_R)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is computed of sequences: ids_BT and labels_BT int64 [B, T], where column 0 has position number `first`.

    places  those without padding; sight and before as `hidden_at` takes them
    """

    ids_BT: Tensor
    labels_BT: Tensor
    concepts_BS: Tensor
    places: Ragged
    first: int
    sight: Sight
    before: list[Tensor]


def _sums(model: LanguageModel, vocabulary: Vocabulary, asked: _Asked, bank: ConceptBank, share: Share) -> Sums:
    """Losses at the labelled places."""
    places = asked.places
    asked_Q = (asked.labels_BT[places.rows_M, places.columns_M] != IGNORE).nonzero(as_tuple=True)[0]
    rows_Q, columns_Q = places.rows_M[asked_Q], places.columns_M[asked_Q]
    x_MD = model.embed(asked.ids_BT, bank, asked.concepts_BS)[places.rows_M, places.columns_M]
    if share != WHOLE:
        # Rows of nobody, put nowhere: the way back leads through all layers here as in the other processes.
        x_MD = torch.cat([x_MD, bank.embed_CKD[0, :0].to(x_MD.dtype)])
    h_QD = hidden_at(model, x_MD, places, places.columns_M + asked.first, asked.sight, asked_Q, asked.before)
    targets_Q = vocabulary.columns(asked.labels_BT[rows_Q, columns_Q], bank.rows)
    losses_Q = label_losses(model, h_QD, bank, asked.concepts_BS[rows_Q], targets_Q)
    zeros_B = torch.zeros(places.B, device=losses_Q.device)
    return zeros_B.index_add(0, rows_Q, losses_Q), zeros_B.index_add(0, rows_Q, torch.ones_like(losses_Q))
