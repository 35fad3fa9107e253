"""What was learned about one concept: rows of the embedding and of the output head."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unictokens.concepts.layout import TokenLayout
from unictokens.errors import ConceptError


@dataclass(frozen=True, eq=False)
class ConceptTokens:
    """Learned rows of one concept, in layout order.

    embed_KD  float32 [K, D]  input embeddings
    head_KD   float32 [K, D]  output-head weights
    bias_K    float32 [K]     output-head biases

    K may be smaller than `layout.total` while later groups do not exist yet (stages append groups); it is never larger.
    Raises ConceptError when the three tensors do not fit each other or the layout.
    """

    layout: TokenLayout
    embed_KD: Tensor
    head_KD: Tensor
    bias_K: Tensor

    def __post_init__(self) -> None:
        K, D = self.embed_KD.shape
        if self.head_KD.shape != (K, D) or self.bias_K.shape != (K,):
            raise ConceptError(
                f"concept rows disagree: embed {tuple(self.embed_KD.shape)}, head {tuple(self.head_KD.shape)}, "
                f"bias {tuple(self.bias_K.shape)}; they must be [K, D], [K, D], [K]"
            )
        if not 1 <= K <= self.layout.total:
            raise ConceptError(
                f"{K} rows do not fit a layout of {self.layout.total}: use the layout they were trained with"
            )

    @property
    def rows(self) -> int:
        """Number of rows present (K)."""
        return self.embed_KD.shape[0]

    @property
    def width(self) -> int:
        """Hidden width of the backbone the rows belong to (D)."""
        return self.embed_KD.shape[1]

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """(embed_KD, head_KD, bias_K), in the order an optimizer gets them."""
        return self.embed_KD, self.head_KD, self.bias_K

    def first(self, rows: int) -> "ConceptTokens":
        """Only the first `rows` rows (views, no copy)."""
        return ConceptTokens(self.layout, self.embed_KD[:rows], self.head_KD[:rows], self.bias_K[:rows])

    def append(self, embed_KD: Tensor, head_KD: Tensor, bias_K: Tensor) -> "ConceptTokens":
        """These rows followed by new ones (copies)."""
        return ConceptTokens(
            self.layout,
            torch.cat([self.embed_KD, embed_KD]),
            torch.cat([self.head_KD, head_KD]),
            torch.cat([self.bias_K, bias_K]),
        )

    def detach(self) -> "ConceptTokens":
        """A copy that no optimizer changes and no graph holds."""
        return ConceptTokens(self.layout, *(tensor.detach().clone() for tensor in self.tensors()))
