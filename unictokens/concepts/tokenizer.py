"""Text to ids. Whatever a user types stays plain text: special ids and learned rows are placed by position only."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unictokens.concepts.prompt import Prompt, Rows
from unictokens.errors import CheckpointError, DependencyError

END_OF_TEXT = "<|endoftext|>"
ROW_STRIDE = 2048
"""Ids reserved per concept of a prompt; larger than the rows of any layout."""


def _library() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise DependencyError("text needs the library 'tokenizers': pip install tokenizers") from error
    return tokenizers


class TextTokenizer:
    """A `tokenizer.json` (byte-level BPE) used so that spelled special tokens are not special.

    `json_text` is the file's content. Raises CheckpointError when it is no tokenizer or has no end-of-text token.
    """

    def __init__(self, json_text: str, source: str = "tokenizer.json") -> None:
        library = _library()
        try:
            self._tokenizer = library.Tokenizer.from_str(json_text)
        # The library reports every malformed file as a plain Exception.
        except Exception as error:
            raise CheckpointError(f"'{source}' is no tokenizer ({error}): copy the file again") from error
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        eot = self._tokenizer.token_to_id(END_OF_TEXT)
        if eot is None:
            raise CheckpointError(f"'{source}' has no {END_OF_TEXT} token: use the tokenizer that belongs to the model")
        self.eot: int = eot
        self.size: int = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @classmethod
    def load(cls, path: Path) -> "TextTokenizer":
        """Read `path`, a `tokenizer.json`; raises CheckpointError when it is missing or malformed."""
        try:
            return cls(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"'{path}' cannot be read ({error}): put the model's tokenizer.json there") from error

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> "TextTokenizer":
        """A new byte-level BPE of at most `size` ids learned from `texts`; the end-of-text token is the last id."""
        library = _library()
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        trainer = library.trainers.BpeTrainer(vocab_size=size - 1, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.add_special_tokens([END_OF_TEXT])
        return cls(tokenizer.to_str())

    def to_json(self) -> str:
        """The content of a `tokenizer.json` that reads back as this tokenizer."""
        return str(self._tokenizer.to_str(pretty=True))

    def encode_text(self, text: str) -> list[int]:
        """Ids of plain text, without any special id."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, prompt: Prompt, vocabulary: int) -> list[int]:
        """Ids of a prompt over a frozen vocabulary of `vocabulary` ids (V).

        Each string is tokenized by itself, as the published code's added tokens cause: a space before a learned row is a
        token of its own. Learned row r of concept s becomes V + s * ROW_STRIDE + r.
        """
        ids: list[int] = []
        for piece in prompt:
            if isinstance(piece, Rows):
                ids.extend(vocabulary + piece.concept * ROW_STRIDE + row for row in piece.rows)
            else:
                ids.extend(self.encode_text(piece))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of text ids; ids outside the text vocabulary and the end-of-text id are left out."""
        kept = [i for i in ids if i < self.size and i != self.eot]
        return str(self._tokenizer.decode(kept, skip_special_tokens=False))
