"""Answering with Show-o: batched decoding with a key-value cache over questions of different lengths."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator

from unictokens.backbones.base import Decoding
from unictokens.backbones.showo.attention import understanding_mask
from unictokens.backbones.showo.batch import concept_table
from unictokens.backbones.showo.language_model import KeyValues, LanguageModel
from unictokens.backbones.showo.vocabulary import Vocabulary
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.sampling.text import next_tokens

UNFINISHED = "�"
"""What decoding puts where the bytes of a character are not complete yet."""


class Wording:
    """Ids of an answer as text."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: TextTokenizer) -> None:
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer

    def text(self, ids: Sequence[int], names: Sequence[str]) -> str:
        """Ids as text; the identifier of concept number s reads `<names[s]>`, and soft token i, which no answer has, `<token_i>`."""
        pieces: list[str] = []
        plain: list[int] = []
        for identifier in ids:
            if identifier < self.vocabulary.size:
                plain.append(identifier)
                continue
            pieces.append(self.tokenizer.decode(plain))
            plain = []
            concept, row = self.vocabulary.place(identifier)
            name = names[concept] if concept < len(names) else "concept"
            pieces.append(f"<{name}>" if row == 0 else f"<token_{row - 1}>")
        return "".join([*pieces, self.tokenizer.decode(plain)])

    @staticmethod
    def whole(text: str) -> str:
        """The text without a character at its end whose bytes are incomplete, and without blanks there."""
        return text.removesuffix(UNFINISHED).rstrip()


class Answering:
    """Answers with one model and bank; tensors live on the model's device."""

    def __init__(
        self, model: LanguageModel, vocabulary: Vocabulary, tokenizer: TextTokenizer, bank: ConceptBank
    ) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.bank = bank
        self.wording = Wording(vocabulary, tokenizer)

    @torch.no_grad()
    def decode(
        self,
        prefixes: Sequence[Sequence[int]],
        questions: Sequence[Sequence[int]],
        concepts: Sequence[tuple[int, ...]],
        decoding: Decoding,
        generator: Generator | None = None,
        on_step: Callable[[list[list[int]]], None] | None = None,
    ) -> list[list[int]]:
        """Ids of the answers, each with its end-of-text id unless it ran into `decoding.max_tokens`.

        Of a concept only the identifier can be said. The published code leaves soft tokens in the head, where one of them may win:
        no training answer has any, so nothing teaches them to be silent everywhere.

        prefixes   task and image ids, equally long for all rows
        questions  text ids; shorter ones get padding between image and text, which nothing sees and no position counts
        on_step    called with all ids so far after every step
        """
        device = self.model.device
        B, prefix, longest = len(questions), len(prefixes[0]), max(len(question) for question in questions)
        gaps = [longest - len(question) for question in questions]
        rows = [
            [*before, *[self.vocabulary.pad] * gap, *question]
            for before, gap, question in zip(prefixes, gaps, questions, strict=True)
        ]
        ids_BT = torch.tensor(rows, device=device)
        gap_B1 = torch.tensor(gaps, device=device)[:, None]
        place_T = torch.arange(prefix + longest, device=device)
        seen_BT = (place_T < prefix) | (place_T >= prefix + gap_B1)
        positions_BT = torch.where(place_T < prefix, place_T, place_T - gap_B1).clamp(min=0)
        mask = understanding_mask(prefix, prefix + longest).to(device) & seen_BT[:, None, None, :]
        concepts_BS = concept_table(concepts).to(device)
        past, said = KeyValues(), self.bank.identifiers()
        answers: list[list[int]] = [[] for _ in range(B)]
        open_rows = set(range(B))
        for _ in range(decoding.max_tokens):
            x_BTD = self.model.embed(ids_BT, self.bank, concepts_BS)
            h_BD = self.model.hidden(x_BTD, mask, positions_BT, past)[:, -1]
            logits_BV = self.model.logits(h_BD, said, concepts_BS)
            columns_B = next_tokens(logits_BV, decoding.top_k, decoding.temperature, generator)
            ids_BT = self.vocabulary.ids(columns_B, said.rows)[:, None]
            for row, identifier in enumerate(ids_BT[:, 0].tolist()):
                if row in open_rows:
                    answers[row].append(identifier)
                    if identifier == self.vocabulary.eot:
                        open_rows.remove(row)
            if on_step is not None:
                on_step(answers)
            if not open_rows:
                break
            seen_BT = torch.cat([seen_BT, seen_BT.new_ones(B, 1)], dim=1)
            mask = seen_BT[:, None, None, :]
            positions_BT = positions_BT[:, -1:] + 1
        return answers

    def text(self, ids: Sequence[int], names: Sequence[str]) -> str:
        """Ids as text (see `Wording`)."""
        return self.wording.text(ids, names)

    def run(
        self,
        prefixes: Sequence[Sequence[int]],
        questions: Sequence[Sequence[int]],
        concepts: Sequence[tuple[int, ...]],
        names: Sequence[tuple[str, ...]],
        decoding: Decoding,
        generator: Generator | None,
        on_token: Callable[[int, str], None] | None,
    ) -> list[str]:
        """Answers as text without surrounding blanks; `on_token(row, piece)` streams them."""
        sent = [""] * len(questions)

        def stream(answers: list[list[int]]) -> None:
            for row, ids in enumerate(answers):
                text = self.text(ids, names[row]).lstrip()
                whole = text[: -len(UNFINISHED)] if text.endswith(UNFINISHED) else text
                if on_token is not None and len(whole) > len(sent[row]):
                    on_token(row, whole[len(sent[row]) :])
                    sent[row] = whole

        answers = self.decode(prefixes, questions, concepts, decoding, generator, None if on_token is None else stream)
        return [self.text(ids, names[row]).strip() for row, ids in enumerate(answers)]
