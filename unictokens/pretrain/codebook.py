"""Let image codes share what they mean while a base is trained: a code is a few signs, and codes that share signs look alike."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.vocabulary import Vocabulary

START = 0.02
"""Standard deviation of new directions, as of the transformer's other weights."""


class SharedSigns(nn.Module):
    """Adds to each image code's row the sum of one learned direction per sign.

    Without it every one of 2^bits rows has to learn from its own rare appearances what its neighbours already know.
    Random rows get the directions on top; `trained` ones begin unchanged, the directions are taken out of them first.
    """

    signs_VL: Tensor

    def __init__(self, signs_CL: Tensor, vocabulary: Vocabulary, width: int, trained: bool) -> None:
        super().__init__()
        signs_VL = torch.zeros(vocabulary.size, signs_CL.shape[1])
        signs_VL[vocabulary.code_offset : vocabulary.code_offset + vocabulary.codes] = signs_CL
        self.register_buffer("signs_VL", signs_VL, persistent=False)
        self.trained = trained
        self.directions_LD = nn.Parameter(torch.randn(signs_CL.shape[1], width) * START)

    def forward(self, rows_VD: Tensor) -> Tensor:
        """Rows of a vocabulary table, float [V, D], to the rows that are used."""
        return rows_VD + self.signs_VL @ self.directions_LD

    def right_inverse(self, rows_VD: Tensor) -> Tensor:
        """What to keep of a table's rows, float [V, D], when sharing begins (called by torch)."""
        return rows_VD - self.signs_VL @ self.directions_LD.detach() if self.trained else rows_VD


def share_codes(model: LanguageModel, signs_CL: Tensor, vocabulary: Vocabulary, trained: bool = False) -> None:
    """Make both vocabulary tables of `model` share directions among image codes; signs float [codes, bits], +1 or -1.

    `trained` says that the tables are not random: then they begin as they are.
    """
    for table in (model.showo.model.embed_tokens, model.showo.lm_head):
        parametrize.register_parametrization(table, "weight", SharedSigns(signs_CL, vocabulary, model.width, trained))


def settle_codes(model: LanguageModel) -> None:
    """Write the shared directions into the tables: from here on they are ordinary weights."""
    for table in (model.showo.model.embed_tokens, model.showo.lm_head):
        parametrize.remove_parametrizations(table, "weight", leave_parametrized=True)
