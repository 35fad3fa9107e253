"""All id arithmetic of Show-o: text, ten special ids, image codes, one mask, and learned rows above them.

Learned row r of the s-th concept of a prompt has the id `size + s * ROW_STRIDE + r`. Which concept that is, the batch
row says; so one user's tokens cannot be reached by another user's spelling.
"""

from dataclasses import dataclass

from torch import Tensor

from unictokens.backbones.showo.config import SPECIAL_COUNT, ShowOConfig
from unictokens.concepts.tokenizer import ROW_STRIDE
from unictokens.errors import CheckpointError

IGNORE = -100
"""Label of positions without a loss term."""


@dataclass(frozen=True)
class Vocabulary:
    """Ids of one Show-o (published values in brackets).

    text_size  text ids [50,295]; special ids follow it
    codes      image codes [8,192], from `code_offset` [50,305]
    eot        end of text [50,256], which also starts text
    """

    text_size: int
    codes: int
    eot: int

    @classmethod
    def of(cls, config: ShowOConfig, eot: int, tokenizer_size: int) -> "Vocabulary":
        """Ids of `config` with a tokenizer's end-of-text id; raises CheckpointError when the tokenizer has more ids."""
        if tokenizer_size > config.text_size:
            raise CheckpointError(
                f"the tokenizer has {tokenizer_size} ids but config.json says text_size {config.text_size}: "
                f"use the tokenizer.json that belongs to this model"
            )
        return cls(config.text_size, config.codebook_size, eot)

    @property
    def pad(self) -> int:
        """Padding, which nothing attends to."""
        return self.text_size

    @property
    def soi(self) -> int:
        """Start of image."""
        return self.text_size + 1

    @property
    def eoi(self) -> int:
        """End of image."""
        return self.text_size + 2

    @property
    def t2i(self) -> int:
        """Task: draw an image from text."""
        return self.text_size + 5

    @property
    def mmu(self) -> int:
        """Task: understand an image."""
        return self.text_size + 6

    @property
    def code_offset(self) -> int:
        """Id of image code 0."""
        return self.text_size + SPECIAL_COUNT

    @property
    def mask(self) -> int:
        """Id of a hidden image code: the last of the frozen vocabulary."""
        return self.code_offset + self.codes

    @property
    def size(self) -> int:
        """Size V of the frozen vocabulary [58,498]."""
        return self.mask + 1

    def row(self, concept: int, row: int) -> int:
        """Id of learned row `row` of the prompt's concept number `concept`."""
        return self.size + concept * ROW_STRIDE + row

    def place(self, identifier: int) -> tuple[int, int]:
        """(concept, row) of a learned row's id."""
        return divmod(identifier - self.size, ROW_STRIDE)

    def columns(self, ids: Tensor, rows: int) -> Tensor:
        """Ids int64 [...] to logit columns: frozen ids stay, row r of concept s becomes V + s * rows + r."""
        learned = ids - self.size
        return ids.where(learned < 0, self.size + learned // ROW_STRIDE * rows + learned % ROW_STRIDE)

    def ids(self, columns: Tensor, rows: int) -> Tensor:
        """Logit columns int64 [...] back to ids."""
        learned = columns - self.size
        divisor = max(1, rows)
        return columns.where(learned < 0, self.size + learned // divisor * ROW_STRIDE + learned % divisor)
