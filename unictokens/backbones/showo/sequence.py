"""How Show-o lays text and image out in one sequence of ids (Show-o, prompting; all lengths from the config).

drawing        [pad]... t2i sot text eot (T + 1 places, padded on the left), soi, N codes, eoi
understanding  mmu, soi, N codes, eoi, then text
text alone     sot text eot, padded on the right

Start and end of text are the same id. A label of IGNORE has no loss term.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.concepts.prompt import Prompt, join
from unictokens.concepts.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Sequences:
    """Builds sequences for one vocabulary, tokenizer and text room T (`text_length`)."""

    vocabulary: Vocabulary
    tokenizer: TextTokenizer
    text_length: int

    def text(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt, without special ids."""
        return self.tokenizer.encode(prompt, self.vocabulary.size)

    def drawing_text(self, text: Sequence[int]) -> list[int]:
        """The T + 1 places before the image: left padding, task, start, text, end.

        Text that is too long loses its end; the end-of-text id stays last.
        """
        vocabulary, room = self.vocabulary, self.text_length + 1
        ids = [vocabulary.t2i, *self._started(text), vocabulary.eot]
        if len(ids) > room:
            ids = [*ids[: room - 1], vocabulary.eot]
        return [vocabulary.pad] * (room - len(ids)) + ids

    def image(self, code_ids: Sequence[int]) -> list[int]:
        """Image ids between the start and end of image."""
        return [self.vocabulary.soi, *code_ids, self.vocabulary.eoi]

    def drawing(self, text: Sequence[int], code_ids: Sequence[int]) -> list[int]:
        """A whole drawing sequence of T + 1 + N + 2 ids; `code_ids` are codes or masks as ids."""
        return self.drawing_text(text) + self.image(code_ids)

    def drawing_labels(self, ids: Sequence[int], code_labels: Sequence[int]) -> list[int]:
        """Labels of a drawing sequence: every id predicts itself except padding; image places have `code_labels`.

        The training loss reads them from the start of image on.
        """
        text, image = ids[: self.text_length + 1], ids[self.text_length + 1 :]
        labels = [IGNORE if identifier == self.vocabulary.pad else identifier for identifier in text]
        return [*labels, image[0], *code_labels, image[-1]]

    def image_prefix(self, code_ids: Sequence[int]) -> list[int]:
        """What stands before the text of an understanding sequence: task and image, N + 3 ids."""
        return [self.vocabulary.mmu, *self.image(code_ids)]

    def understanding(self, text: Sequence[int], code_ids: Sequence[int]) -> tuple[list[int], list[int]]:
        """Ids and labels of image, start, text, end, padded on the right to T places of text.

        Text that is too long loses its end; the end-of-text id stays last.
        """
        vocabulary, room = self.vocabulary, self.text_length
        prefix = self.image_prefix(code_ids)
        ids = [*self._started(text), vocabulary.eot]
        if len(ids) > room:
            ids = [*ids[: room - 1], vocabulary.eot]
        padding = room - len(ids)
        labels = [IGNORE] * len(prefix) + ids + [IGNORE] * padding
        return prefix + ids + [vocabulary.pad] * padding, labels

    def text_alone(self, text: Sequence[int], length: int) -> tuple[list[int], list[int]]:
        """Ids and labels of start, text, end, padded on the right to `length`, or cut there without an end."""
        ids = [*self._started(text), self.vocabulary.eot][:length]
        padding = length - len(ids)
        return ids + [self.vocabulary.pad] * padding, ids + [IGNORE] * padding

    def conversation(self, turns: Sequence[tuple[Prompt, Prompt]]) -> tuple[list[int], list[int]]:
        """Ids and labels of "USER: question ASSISTANT: answer<eot>USER: ...", without a start (UniCTokens training).

        Labels are the answers, each with the space token before it and its end-of-text id.
        """
        ids: list[int] = []
        labels: list[int] = []
        for question, answer in turns:
            asked = self.text(join("USER: ", question, " ASSISTANT:"))
            told = [*self.text(join(" ", answer)), self.vocabulary.eot]
            ids += asked + told
            labels += [IGNORE] * len(asked) + told
        return ids, labels

    def question(self, question: Prompt, answer_start: bool) -> list[int]:
        """Text of an open question; `answer_start` puts the start id before it, as the published inference does."""
        ids = self.text(join("USER: ", question, " ASSISTANT:"))
        return [self.vocabulary.eot, *ids] if answer_start else ids

    def code_ids(self, codes_N: Tensor) -> list[int]:
        """Image codes int64 [N] as ids."""
        return (codes_N + self.vocabulary.code_offset).tolist()

    def _started(self, text: Sequence[int]) -> list[int]:
        return list(text) if text and text[0] == self.vocabulary.eot else [self.vocabulary.eot, *text]
