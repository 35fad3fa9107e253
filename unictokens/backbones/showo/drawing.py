"""Drawing with Show-o: conditional and unconditional sequences in one forward pass, MaskGIT steps over image codes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.base import Drawing, Sampling
from unictokens.backbones.showo.attention import drawing_mask
from unictokens.backbones.showo.batch import concept_table, trim
from unictokens.backbones.showo.dense import frozen_logits, through_layers
from unictokens.backbones.showo.language_model import KeyValues, LanguageModel
from unictokens.backbones.showo.sequence import Sequences
from unictokens.concepts.bank import ConceptBank
from unictokens.sampling import maskgit


class DrawingTask:
    """Draws images of `codes` codes (N) with one model and bank; tensors live on the model's device.

    The text before the image does not see it, so its keys and values are computed once for all steps.
    """

    def __init__(self, model: LanguageModel, sequences: Sequences, codes: int, bank: ConceptBank) -> None:
        self.model = model
        self.sequences = sequences
        self.codes = codes
        self.bank = bank

    @torch.no_grad()
    def run(
        self,
        texts: Sequence[Sequence[int]],
        concepts: Sequence[tuple[int, ...]],
        sampling: Sampling,
        randomness: maskgit.Randomness,
        start_BN: Tensor | None = None,
    ) -> list[Drawing]:
        """One drawing per text (ids without special ids).

        randomness  a generator per text, or one for all, which then draws in the published order
        start_BN    int64 [B, N] codes to keep, HIDDEN (-1) where to draw (inpainting); everything is drawn without it

        logits = (1 + guidance) * conditional - guidance * unconditional (Show-o section 3.5).
        """
        device = self.model.device
        if start_BN is None:
            start_BN = torch.full((len(texts), self.codes), maskgit.HIDDEN, dtype=torch.long)
        B, guidance = len(texts), sampling.guidance
        guided = guidance > 0.0
        prompts = [self.sequences.drawing_text(text) for text in texts]
        if guided:
            prompts += [self.sequences.drawing_text([])] * B
        concepts_BS = concept_table([*concepts, *concepts] if guided else concepts).to(device)
        text_BT, dropped = trim(torch.tensor(prompts), self.sequences.vocabulary.pad)
        reader = _Reader(self, text_BT.to(device), dropped, concepts_BS)

        def logits_of(codes_BN: Tensor) -> Tensor:
            if not guided:
                return reader.code_logits(codes_BN)
            conditional_MC, unconditional_MC = reader.code_logits(torch.cat([codes_BN, codes_BN])).chunk(2)
            # In place: of these, the largest tensors of a drawing, nobody needs a second copy.
            return conditional_MC.mul_(1.0 + guidance).sub_(unconditional_MC.mul_(guidance))

        codes_BN, trace = maskgit.decode(
            logits_of, start_BN.to(device), sampling.steps, sampling.temperature, randomness, sampling.trace
        )
        codes_BN = codes_BN.cpu()
        traced = {step: sampled_BN.cpu() for step, sampled_BN in trace.items()}
        return [
            Drawing(codes_BN[row], {step: sampled_BN[row] for step, sampled_BN in traced.items()}) for row in range(B)
        ]


@dataclass(frozen=True)
class _Group:
    """Neighbouring rows first..last-1 whose texts begin at the same column."""

    first: int
    last: int
    begin: int


class _Reader:
    """The text of a batch, read once; then logits of image codes for any state of the image."""

    def __init__(self, task: DrawingTask, text_BT: Tensor, dropped: int, concepts_BS: Tensor) -> None:
        self.task = task
        self.vocabulary = task.sequences.vocabulary
        self.concepts_BS = concepts_BS
        first = dropped + text_BT.shape[1]
        positions_T = torch.arange(dropped, first + task.codes + 2, device=text_BT.device)
        self.image_positions = positions_T[None, text_BT.shape[1] :].expand(len(text_BT), -1)
        # Padding, on the left, is seen by nobody: rows that have as much of it need no mask.
        self.groups = _groups((text_BT == self.vocabulary.pad).sum(1).tolist())
        past = KeyValues()
        x_BTD = task.model.embed(text_BT, task.bank, concepts_BS)
        ids = self.vocabulary
        mask = drawing_mask(text_BT, ids.pad, ids.soi, ids.eoi)
        task.model.hidden(x_BTD, mask, positions_T[None, : text_BT.shape[1]], past)
        self.text = [past.of(layer) for layer in range(past.depth)]

    def code_logits(self, codes_BN: Tensor) -> Tensor:
        """Codes int64 [B, N], M of them HIDDEN, to logits float32 [M, C] over the code book for these, row after row."""
        ids, model = self.vocabulary, self.task.model
        hidden_BN = codes_BN == maskgit.HIDDEN
        image_BT = functional.pad((codes_BN + ids.code_offset).masked_fill(hidden_BN, ids.mask), (1, 1))
        image_BT[:, 0], image_BT[:, -1] = ids.soi, ids.eoi
        x_BTD = model.embed(image_BT, self.task.bank, self.concepts_BS)
        h_BTD = through_layers(model, x_BTD, self.image_positions, self._attend)
        return frozen_logits(model, h_BTD[:, 1:-1][hidden_BN], ids.code_offset, ids.mask)

    def _attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        """An image sees all of its text and itself."""
        seen = []
        for group in self.groups:
            rows = slice(group.first, group.last)
            keys, values = (
                torch.cat([text_BHTE[rows, :, group.begin :], image_BHTE[rows]], dim=2)
                for text_BHTE, image_BHTE in zip(self.text[layer], (k_BHTE, v_BHTE), strict=True)
            )
            seen.append(functional.scaled_dot_product_attention(q_BHTE[rows], keys, values))
        return seen[0] if len(seen) == 1 else torch.cat(seen)


def _groups(begins: Sequence[int]) -> list[_Group]:
    cuts = [row for row in range(len(begins)) if row == 0 or begins[row] != begins[row - 1]]
    return [_Group(first, last, begins[first]) for first, last in zip(cuts, [*cuts[1:], len(begins)], strict=True)]
