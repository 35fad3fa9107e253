"""Summed cross-entropies of training blocks, computed only where something is learned or labelled."""

import torch
from torch import Tensor

from unictokens.backbones.showo.attention import drawing_mask, understanding_mask
from unictokens.backbones.showo.batch import Block
from unictokens.backbones.showo.head import label_losses
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.prefix import PrefixCache
from unictokens.backbones.showo.ragged import Ragged, hidden_at, prefix_keys
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.concepts.bank import ConceptBank

Sums = tuple[Tensor, Tensor]
"""Per sequence of a block: summed cross-entropies and their number, float32 [B]."""


def answer_losses(
    model: LanguageModel, vocabulary: Vocabulary, prefix: int, block: Block, bank: ConceptBank, prefixes: PrefixCache
) -> Sums:
    """Answers, each place predicted by the one before; the first `prefix` ids of a row are task and image."""
    # Nothing is read before where the end of the image predicts too (Show-o's own pretraining), or where the tables learn.
    early = bool((block.labels_BT[:, : prefix + 1] != IGNORE).any())
    first = 0 if early or model.embed_VD.requires_grad else prefix
    ids_BT, told_BT = block.ids_BT[:, first:], block.labels_BT[:, first:]
    labels_BT = torch.cat([told_BT[:, 1:], torch.full_like(told_BT[:, :1], IGNORE)], dim=1)
    mask = understanding_mask(prefix, block.ids_BT.shape[1]).to(ids_BT.device)[:, :, first:]
    read = [_prefix(model, ids_P, prefixes) for ids_P in block.ids_BT[:, :first]] if first else None
    real_BT = ids_BT != vocabulary.pad
    return _sums(model, vocabulary, block, ids_BT, labels_BT, real_BT, first, mask, bank, read)


def drawing_losses(
    model: LanguageModel, vocabulary: Vocabulary, text_length: int, block: Block, bank: ConceptBank
) -> Sums:
    """Hidden codes, start and end of image, each place predicting itself (Show-o section 3.4 as published)."""
    mask = drawing_mask(block.ids_BT, vocabulary.pad, vocabulary.soi, vocabulary.eoi)
    labels_BT = block.labels_BT.clone()
    labels_BT[:, : text_length + 1 - block.dropped] = IGNORE
    real_BT = block.ids_BT != vocabulary.pad
    return _sums(model, vocabulary, block, block.ids_BT, labels_BT, real_BT, block.dropped, mask, bank, None)


def _prefix(model: LanguageModel, ids_P: Tensor, prefixes: PrefixCache) -> Tensor:
    key = ids_P.cpu().numpy().tobytes()
    return prefixes.get(key, lambda: prefix_keys(model, model.frozen_rows(ids_P)))


def _sums(
    model: LanguageModel,
    vocabulary: Vocabulary,
    block: Block,
    ids_BT: Tensor,
    labels_BT: Tensor,
    real_BT: Tensor,
    first: int,
    mask: Tensor,
    bank: ConceptBank,
    read: list[Tensor] | None,
) -> Sums:
    """Losses at the places that labels_BT [B, T] labels; column 0 has position number `first`."""
    places = Ragged.where(real_BT)
    asked_Q = (labels_BT[places.rows_M, places.columns_M] != IGNORE).nonzero(as_tuple=True)[0]
    rows_Q, columns_Q = places.rows_M[asked_Q], places.columns_M[asked_Q]
    x_MD = model.embed(ids_BT, bank, block.concepts_BS)[places.rows_M, places.columns_M]
    h_QD = hidden_at(
        model, x_MD, places, places.columns_M + first, mask, asked_Q, None if read is None else torch.stack(read)
    )
    targets_Q = vocabulary.columns(labels_BT[rows_Q, columns_Q], bank.rows)
    losses_Q = label_losses(model, h_QD, bank, block.concepts_BS[rows_Q], targets_Q)
    zeros_B = torch.zeros(block.rows, device=losses_Q.device)
    return zeros_B.index_add(0, rows_Q, losses_Q), zeros_B.index_add(0, rows_Q, torch.ones_like(losses_Q))
