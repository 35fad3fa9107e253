"""A training step the way the published code takes it, as the yardstick: nothing kept, nothing left out.

Image codes computed anew, padding kept, logits of the whole vocabulary at every place, the vocabulary grown by the
concept's rows, AdamW over both whole tables, and all other rows put back afterwards. Float32. Written from the published
algorithm (facts in the paper and its code), not from its text.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.base import MaskDraw
from unictokens.backbones.showo.attention import drawing_mask, understanding_mask
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.tokens import ConceptTokens

UNDERSTANDING_WEIGHT, GENERATION_WEIGHT = 0.2, 0.8


class PlainTrainer:
    """One concept on a Show-o whose vocabulary grew by the concept's rows."""

    def __init__(self, backbone: ShowO, tokens: ConceptTokens, lr: float = 1e-3) -> None:
        ids = backbone.vocabulary
        self._backbone = backbone
        self._first = ids.size
        self._model = LanguageModel(backbone.config.phi, ids.size + tokens.rows).requires_grad_(False)
        state = dict(backbone.language_model.state_dict())
        names = ("showo.model.embed_tokens.weight", "showo.lm_head.weight", "showo.lm_head.bias")
        for name, rows in zip(names, tokens.tensors(), strict=True):
            state[name] = torch.cat([state[name], rows])
        self._model.load_state_dict(state)
        self._model.to(backbone.device)
        self._tables = [self._model.embed_VD, self._model.head_VD, self._model.bias_V]
        for table in self._tables:
            table.requires_grad_(True)
        self._optimizer = torch.optim.AdamW(self._tables, lr=lr)
        self._none = ConceptBank.empty(self._model.width)

    def step(
        self,
        asked: Sequence[tuple[Tensor, Prompt, Prompt]],
        drawn: Sequence[tuple[Tensor, Prompt, MaskDraw]],
    ) -> float:
        """One step; photos float32 [3, size, size] with question and answer, or with prompt and hidden codes."""
        losses = []
        if drawn:
            losses.append((GENERATION_WEIGHT, self._drawing_loss(drawn)))
        if asked:
            losses.append((UNDERSTANDING_WEIGHT if drawn else 1.0, self._answer_loss(asked)))
        loss = torch.stack([weight * part for weight, part in losses]).sum()
        before = [table.detach().clone() for table in self._tables]
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for table, kept in zip(self._tables, before, strict=True):
                table[: self._first] = kept[: self._first]
        return float(loss.detach())

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """The concept's rows now: embedding [K, D], head [K, D], bias [K]."""
        return tuple(table.detach()[self._first :].clone() for table in self._tables)

    def _answer_loss(self, asked: Sequence[tuple[Tensor, Prompt, Prompt]]) -> Tensor:
        backbone, ids = self._backbone, self._backbone.vocabulary
        rows, labels = [], []
        codes_UN = backbone.encode(torch.stack([photo for photo, _, _ in asked]))
        for codes_N, (_, question, answer) in zip(codes_UN, asked, strict=True):
            prefix = backbone.sequences.image_prefix(backbone.sequences.code_ids(codes_N))
            text, told = backbone.sequences.conversation([(question, answer)])
            room = backbone.config.text_length - len(text)
            rows.append([*prefix, *text, *[ids.pad] * room])
            labels.append([*[IGNORE] * len(prefix), *told, *[IGNORE] * room])
        ids_BT, labels_BT = self._on(torch.tensor(rows)), self._on(torch.tensor(labels))
        mask = self._on(understanding_mask(backbone.config.num_vq_tokens + 3, ids_BT.shape[1]))
        logits_BTV = self._logits(ids_BT, mask)
        return functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten())

    def _drawing_loss(self, drawn: Sequence[tuple[Tensor, Prompt, MaskDraw]]) -> Tensor:
        backbone, ids = self._backbone, self._backbone.vocabulary
        rows, labels = [], []
        codes_GN = backbone.encode(torch.stack([photo for photo, _, _ in drawn])).cpu()
        for codes_N, (_, prompt, draw) in zip(codes_GN + ids.code_offset, drawn, strict=True):
            text = backbone.sequences.text(prompt)
            row = backbone.sequences.drawing(text, codes_N.masked_fill(draw.masked_N, ids.mask).tolist())
            told = backbone.sequences.drawing_labels(row, codes_N.masked_fill(~draw.masked_N, IGNORE).tolist())
            rows.append(row)
            labels.append(told)
        ids_BT, labels_BT = self._on(torch.tensor(rows)), self._on(torch.tensor(labels))
        labels_BT[:, : backbone.config.text_length + 1] = IGNORE
        logits_BTV = self._logits(ids_BT, drawing_mask(ids_BT, ids.pad, ids.soi, ids.eoi))
        return functional.cross_entropy(logits_BTV.flatten(0, 1), labels_BT.flatten())

    def _logits(self, ids_BT: Tensor, mask: Tensor) -> Tensor:
        B, T = ids_BT.shape
        nobody = ids_BT.new_zeros(B, 1)
        h_BTD = self._model.hidden(self._model.embed(ids_BT, self._none, nobody), mask)
        return self._model.logits(h_BTD.flatten(0, 1), self._none, nobody.expand(B, T).reshape(-1, 1)).view(B, T, -1)

    def _on(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._backbone.device)
