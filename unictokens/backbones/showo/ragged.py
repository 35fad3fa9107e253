"""Places of a padded batch that are real, and how values move between them and the padded shape.

Shape letters beside the house's: M places, Q chosen ones, H heads, E width of a head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Ragged:
    """Some places of a padded batch [B, T]: rows_M and columns_M int64 [M], sorted by row and column."""

    rows_M: Tensor
    columns_M: Tensor
    B: int
    T: int

    @classmethod
    def where(cls, real_BT: Tensor) -> "Ragged":
        """The places where a bool [B, T] is true."""
        rows_M, columns_M = real_BT.nonzero(as_tuple=True)
        return cls(rows_M, columns_M, *real_BT.shape)

    @property
    def full(self) -> bool:
        """Whether these are all places of the batch, so that nothing has to be moved."""
        return len(self.rows_M) == self.B * self.T

    def spread(self, x_MHE: Tensor) -> Tensor:
        """Values [M, H, E] at their places of [B, H, T, E], zeros elsewhere."""
        if self.full:
            return x_MHE.view(self.B, self.T, *x_MHE.shape[1:]).transpose(1, 2)
        padded_BTHE = x_MHE.new_zeros(self.B, self.T, *x_MHE.shape[1:])
        return padded_BTHE.index_put((self.rows_M, self.columns_M), x_MHE).transpose(1, 2)

    def collect(self, x_BHTE: Tensor) -> Tensor:
        """Values at the places of [B, H, T, E], as [M, H * E]."""
        if self.full:
            return x_BHTE.transpose(1, 2).reshape(self.B * self.T, -1)
        return x_BHTE.transpose(1, 2)[self.rows_M, self.columns_M].flatten(1)

    def of(self, chosen_Q: Tensor) -> "Ragged":
        """Those of the places that chosen_Q (int64 [Q], sorted) numbers, moved together at the front of their rows."""
        rows_Q = self.rows_M[chosen_Q]
        counts_B = torch.bincount(rows_Q, minlength=self.B)
        firsts_B = counts_B.cumsum(0) - counts_B
        columns_Q = torch.arange(len(rows_Q), device=rows_Q.device) - firsts_B[rows_Q]
        return Ragged(rows_Q, columns_Q, self.B, int(counts_B.max()))
