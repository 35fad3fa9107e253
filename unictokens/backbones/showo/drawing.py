"""Drawing with Show-o: conditional and unconditional sequences in one forward pass, MaskGIT steps over image codes."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from unictokens.backbones.base import Drawing, Sampling
from unictokens.backbones.showo.attention import drawing_mask
from unictokens.backbones.showo.batch import concept_table, trim
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
        generators: Sequence[Generator],
        start_BN: Tensor | None = None,
    ) -> list[Drawing]:
        """One drawing per text (ids without special ids).

        generators  one per text, or one for all, which then draws in the published order
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
            conditional_BNC, unconditional_BNC = reader.code_logits(torch.cat([codes_BN, codes_BN])).chunk(2)
            return (1.0 + guidance) * conditional_BNC - guidance * unconditional_BNC

        codes_BN, trace = maskgit.decode(
            logits_of, start_BN.to(device), sampling.steps, sampling.temperature, generators, sampling.trace
        )
        codes_BN = codes_BN.cpu()
        traced = {step: sampled_BN.cpu() for step, sampled_BN in trace.items()}
        return [
            Drawing(codes_BN[row], {step: sampled_BN[row] for step, sampled_BN in traced.items()}) for row in range(B)
        ]


class _Reader:
    """The text of a batch, read once; then logits of image codes for any state of the image."""

    def __init__(self, task: DrawingTask, text_BT: Tensor, dropped: int, concepts_BS: Tensor) -> None:
        self.task = task
        self.vocabulary = task.sequences.vocabulary
        self.concepts_BS = concepts_BS
        rows, self.text_length = text_BT.shape
        length = self.text_length + task.codes + 2
        blank_BT = torch.full((rows, task.codes + 2), self.vocabulary.soi, device=text_BT.device)
        blank_BT[:, -1] = self.vocabulary.eoi
        ids = self.vocabulary
        mask = drawing_mask(torch.cat([text_BT, blank_BT], 1), ids.pad, ids.soi, ids.eoi)
        self.image_mask = mask[:, :, self.text_length :]
        positions = torch.arange(length, device=text_BT.device)[None] + dropped
        self.image_positions = positions[:, self.text_length :]
        self.past = KeyValues()
        x_BTD = task.model.embed(text_BT, task.bank, concepts_BS)
        text_mask = mask[:, :, : self.text_length, : self.text_length]
        task.model.hidden(x_BTD, text_mask, positions[:, : self.text_length], self.past)

    def code_logits(self, codes_BN: Tensor) -> Tensor:
        """Codes int64 [B, N], HIDDEN where unknown, to logits float32 [B, N, C] over the code book."""
        ids, model = self.vocabulary, self.task.model
        hidden_BN = codes_BN == maskgit.HIDDEN
        image_BT = torch.nn.functional.pad((codes_BN + ids.code_offset).masked_fill(hidden_BN, ids.mask), (1, 1))
        image_BT[:, 0], image_BT[:, -1] = ids.soi, ids.eoi
        x_BTD = model.embed(image_BT, self.task.bank, self.concepts_BS)
        h_BTD = model.hidden(x_BTD, self.image_mask, self.image_positions, self.past)
        self.past.crop(self.text_length)
        return model.frozen_logits(h_BTD[:, 1:-1], ids.code_offset, ids.mask)
