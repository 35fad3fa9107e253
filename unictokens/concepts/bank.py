"""Many concepts stacked, so that one forward pass serves any mix of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError


@dataclass(frozen=True, eq=False)
class ConceptBank:
    """Rows of C concepts, padded to the longest (K rows).

    embed_CKD float32 [C, K, D]; head_CKD float32 [C, K, D]; bias_CK float32 [C, K]; rows_C int64 [C] rows really present.
    Padded rows have bias -inf, so their logits never take probability. Stacking keeps the graph: gradients reach the
    tensors the bank was built from.
    """

    embed_CKD: Tensor
    head_CKD: Tensor
    bias_CK: Tensor
    rows_C: Tensor

    @property
    def concepts(self) -> int:
        """Number of concepts (C)."""
        return self.embed_CKD.shape[0]

    @property
    def rows(self) -> int:
        """Rows per concept after padding (K)."""
        return self.embed_CKD.shape[1]

    @classmethod
    def stack(cls, concepts: Sequence[ConceptTokens]) -> "ConceptBank":
        """A bank of `concepts`; raises ConceptError when their widths differ or none is given."""
        if not concepts:
            raise ConceptError("a bank needs at least one concept; use ConceptBank.empty(width) for none")
        widths = {concept.width for concept in concepts}
        if len(widths) > 1:
            raise ConceptError(
                f"concepts of widths {sorted(widths)} cannot share a bank: they belong to different backbones"
            )
        longest = max(concept.rows for concept in concepts)
        return cls(
            torch.stack([_pad(concept.embed_KD, longest, 0.0) for concept in concepts]),
            torch.stack([_pad(concept.head_KD, longest, 0.0) for concept in concepts]),
            torch.stack([_pad(concept.bias_K, longest, float("-inf")) for concept in concepts]),
            torch.tensor([concept.rows for concept in concepts], device=concepts[0].embed_KD.device),
        )

    @classmethod
    def empty(cls, width: int) -> "ConceptBank":
        """A bank of one concept without rows, for prompts that name no concept."""
        return cls(
            torch.zeros(1, 0, width), torch.zeros(1, 0, width), torch.zeros(1, 0), torch.zeros(1, dtype=torch.long)
        )

    def identifiers(self) -> "ConceptBank":
        """Only the first row of each concept: all of it that can be said, since soft tokens are no words."""
        first = (self.embed_CKD[:, :1], self.head_CKD[:, :1], self.bias_CK[:, :1])
        return ConceptBank(*first, self.rows_C.clamp(max=1))

    def to(self, device: torch.device | str) -> "ConceptBank":
        """The bank on another device."""
        return ConceptBank(
            *(tensor.to(device) for tensor in (self.embed_CKD, self.head_CKD, self.bias_CK, self.rows_C))
        )


def _pad(tensor: Tensor, rows: int, value: float) -> Tensor:
    missing = rows - tensor.shape[0]
    if missing == 0:
        return tensor
    return torch.cat([tensor, tensor.new_full((missing, *tensor.shape[1:]), value)])
