"""Files `prompting` and `mmu_text`: ids, labels and masks of all sequence kinds.

The recordings hold ids only; texts are read back from them, tokenized again, laid out again and compared.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unictokens.backbones.showo.attention import causal_mask, drawing_mask, understanding_mask
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.concepts.prompt import Prompt, Rows, join
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.parity.vectors import Check, Vectors

CODE_BOOK = 8192
"""These files name no code book; only ids below it occur."""


def check_prompting(vectors: Vectors, tokenizer: TextTokenizer) -> list[Check]:
    """Drawing, understanding and text sequences of every recorded text, then masks."""
    cases = sorted({key.split(".")[1] for key in vectors.tensors if not key.startswith("mask.")})
    checks: list[Check] = []
    for case in cases:
        text = _plain(tokenizer, _text_of(vectors.get(f"lm.{case}.ids"), tokenizer.eot, tokenizer.size))
        for kind in ("t2i", "t2i_gen", "mmu", "lm"):
            if f"{kind}.{case}.ids" in vectors.tensors:
                checks += _layout(vectors, f"{kind}.{case}.ids", f"{kind}.{case}.labels", kind, text, tokenizer)
    checks += _masks(vectors, tokenizer)
    return checks + vectors.unknown(checks, set())


def check_mmu_text(vectors: Vectors, tokenizer: TextTokenizer) -> list[Check]:
    """Conversations with learned rows: ids, labels, and the open prompts of inference."""
    vocabulary = Vocabulary(tokenizer.size, CODE_BOOK, tokenizer.eot)
    sequences = Sequences(vocabulary, tokenizer, 128)
    checks: list[Check] = []
    for key, recorded in vectors.tensors.items():
        ids = recorded.flatten().tolist()
        if key.endswith(".labels"):
            continue
        if key.endswith(".input_ids"):
            while ids and ids[-1] == vocabulary.pad:
                ids.pop()
            made, labels = sequences.conversation([_turn(part, sequences) for part in _rounds(ids, tokenizer.eot)])
            padding = recorded.numel() - len(made)
            made_ids = _as_recorded(made, vocabulary) + [vocabulary.pad] * padding
            made_labels = _as_recorded(labels, vocabulary) + [IGNORE] * padding
            checks.append(vectors.exact(key, torch.tensor(made_ids).view(1, -1)))
            checks.append(vectors.exact(key.replace(".input_ids", ".labels"), torch.tensor(made_labels).view(1, -1)))
        elif key.startswith("eval_prompt"):
            question, _ = _turn(ids, sequences)
            checks.append(
                vectors.exact(key, torch.tensor(_as_recorded(sequences.question(question, False), vocabulary)))
            )
        elif key.startswith("t2i_prompt"):
            made = sequences.text(_prompt(ids, sequences))
            checks.append(vectors.exact(key, torch.tensor(_as_recorded(made, vocabulary))))
    return checks + vectors.unknown(checks, set())


def _layout(
    vectors: Vectors, ids_key: str, labels_key: str, kind: str, text: str, tokenizer: TextTokenizer
) -> list[Check]:
    recorded = vectors.get(ids_key)[0].tolist()
    vocabulary = Vocabulary(tokenizer.size, CODE_BOOK, tokenizer.eot)
    start = recorded.index(vocabulary.soi) if vocabulary.soi in recorded else 0
    end = recorded.index(vocabulary.eoi) if vocabulary.eoi in recorded else 0
    image = recorded[start + 1 : end]
    room = len(recorded) - end - 1 if kind == "mmu" else start - 1
    sequences = Sequences(vocabulary, tokenizer, room)
    ids = sequences.text((text,))
    labels: list[int] = []
    if kind == "mmu":
        made, labels = sequences.understanding(ids, image)
    elif kind == "lm":
        made, labels = sequences.text_alone(ids, len(recorded))
    else:
        made = sequences.drawing(ids, image)
        if labels_key in vectors.tensors:
            labels = sequences.drawing_labels(made, vectors.get(labels_key)[0].tolist()[start + 1 : end])
    checks = [vectors.exact(ids_key, torch.tensor([made]))]
    if labels_key in vectors.tensors:
        checks.append(vectors.exact(labels_key, torch.tensor([labels])))
    return checks


def _masks(vectors: Vectors, tokenizer: TextTokenizer) -> list[Check]:
    ids = Vocabulary(tokenizer.size, CODE_BOOK, tokenizer.eot)
    checks: list[Check] = []
    for kind in ("t2i", "mmu", "lm"):
        key = f"mask.{kind}.ids"
        if key not in vectors.tensors:
            continue
        recorded_BT = vectors.get(key)
        length = recorded_BT.shape[1]
        text = _plain(tokenizer, _text_of(recorded_BT, ids.eot, ids.text_size))
        checks += _layout(vectors, key, "", kind, text, tokenizer)
        if kind == "t2i":
            masks = {"": drawing_mask(recorded_BT, ids.pad, ids.soi, ids.eoi)}
            masks["_keep_pad"] = drawing_mask(recorded_BT, ids.pad, ids.soi, ids.eoi, keep_padding=True)
        elif kind == "mmu":
            masks = {"": understanding_mask(recorded_BT[0].tolist().index(ids.eoi) + 1, length)}
        else:
            masks = {"": causal_mask(length)}
        for ending, mask in masks.items():
            if f"mask.{kind}{ending}.allowed" in vectors.tensors:
                checks.append(vectors.exact(f"mask.{kind}{ending}.allowed", mask))
    return checks


def _text_of(ids_BT: Tensor, eot: int, text_size: int) -> list[int]:
    """Text ids between the start and the end of text."""
    ids = ids_BT[0].tolist()
    ids = ids[ids.index(eot) + 1 :]
    kept: list[int] = []
    for identifier in ids:
        if identifier == eot or identifier >= text_size:
            break
        kept.append(identifier)
    return kept


def _plain(tokenizer: TextTokenizer, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids)


def _rounds(ids: list[int], eot: int) -> list[list[int]]:
    rounds: list[list[int]] = [[]]
    for identifier in ids:
        if identifier == eot:
            rounds.append([])
        else:
            rounds[-1].append(identifier)
    return [part for part in rounds if part]


def _prompt(ids: list[int], sequences: Sequences) -> Prompt:
    """Recorded ids as a prompt: row r of the only concept stands where image code r stands without concepts."""
    vocabulary = sequences.vocabulary
    pieces: list[Prompt] = []
    plain: list[int] = []
    for identifier in ids:
        if identifier < vocabulary.code_offset:
            plain.append(identifier)
        else:
            pieces += [(sequences.tokenizer.decode(plain),), (Rows((identifier - vocabulary.code_offset,)),)]
            plain = []
    return join(*pieces, sequences.tokenizer.decode(plain))


def _turn(ids: list[int], sequences: Sequences) -> tuple[Prompt, Prompt]:
    """One round "USER: question ASSISTANT: answer" as its question and answer."""
    question: list[Prompt] = []
    answer: list[Prompt] = []
    asked = False
    for place, piece in enumerate(_prompt(ids, sequences)):
        if isinstance(piece, str):
            text = piece.removeprefix("USER: ") if place == 0 else piece
            if not asked and " ASSISTANT:" in text:
                text, _, told = text.partition(" ASSISTANT:")
                question.append((text,))
                answer.append((told.removeprefix(" "),))
                asked = True
                continue
            piece = text
        (answer if asked else question).append((piece,))
    return join(*question), join(*answer)


def _as_recorded(ids: list[int], vocabulary: Vocabulary) -> list[int]:
    """Our ids of learned rows as the published code numbers them, after the special ids."""
    return [
        vocabulary.code_offset + vocabulary.place(identifier)[1] if identifier >= vocabulary.size else identifier
        for identifier in ids
    ]
