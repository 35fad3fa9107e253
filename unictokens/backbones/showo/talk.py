"""Many answers at different places in one pass: questions read one by one, then one id of every answer at a time.

Keys and values of all open answers lie in one table, a slot for each, the used slots always first: who leaves gives the slot
to the last. In a slot stand picture, question and answer without a gap (see `dense` for why padding comes last).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unictokens.backbones.base import Decoding
from unictokens.backbones.showo.answering import Wording
from unictokens.backbones.showo.dense import LEAST_ROWS, look, read, rounded, through_layers
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.layers import prefix_keys
from unictokens.backbones.showo.prefix import PrefixCache, prefix_key
from unictokens.backbones.showo.vocabulary import Vocabulary
from unictokens.backbones.steps import Speech
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokens import ConceptTokens
from unictokens.sampling.text import next_tokens

ROOM_ROUND = 64
"""A table grows by so many places at a time."""


@dataclass(eq=False)
class _State:
    """What an answer goes on from.

    length            places that stand in its slot
    head_CD, bias_C   of its concepts the identifiers' rows of the head: soft tokens are no words (see `Answering.decode`)
    """

    slot: int
    length: int
    concepts: tuple[ConceptTokens, ...]
    names: tuple[str, ...]
    head_CD: Tensor
    bias_C: Tensor
    generator: Generator
    sent: str = ""


@dataclass(eq=False)
class _Table:
    """Keys and values [L, 2, slots, H, places, E]; `open` has the speech of each used slot."""

    open: list[Speech] = field(default_factory=list)
    kv: Tensor | None = None

    def join(self, speech: Speech, kv_LKHTE: Tensor) -> None:
        """Give a speech the next slot."""
        kv = self.reserve(len(self.open) + 1, kv_LKHTE.shape[3], kv_LKHTE)
        speech.state.slot = len(self.open)
        kv[:, :, speech.state.slot, :, : kv_LKHTE.shape[3]] = kv_LKHTE
        self.open.append(speech)

    def leave(self, speech: Speech) -> None:
        """Free a speech's slot; the last slot moves there. Without speeches the table is given back."""
        slot, last = speech.state.slot, self.open.pop()
        if last is not speech:
            assert self.kv is not None
            self.kv[:, :, slot] = self.kv[:, :, last.state.slot]
            self.open[slot], last.state.slot = last, slot
        if not self.open:
            self.kv = None

    def reserve(self, slots: int, places: int, like_LKHTE: Tensor | None = None) -> Tensor:
        """The table with room for so many slots and places."""
        old = self.kv
        if old is not None and old.shape[2] >= slots and old.shape[4] >= places:
            return old
        if old is None:
            assert like_LKHTE is not None
            L, K, H, _, E = like_LKHTE.shape
            self.kv = like_LKHTE.new_zeros(L, K, max(LEAST_ROWS, slots), H, rounded(places, ROOM_ROUND), E)
            return self.kv
        L, K, had, H, room, E = old.shape
        wider, longer = max(had, rounded(slots, LEAST_ROWS)), max(room, rounded(places, ROOM_ROUND))
        self.kv = old.new_zeros(L, K, wider, H, longer, E)
        self.kv[:, :, :had, :, :room] = old
        return self.kv


class Talk:
    """Answers with one model; tensors live on the model's device."""

    def __init__(self, model: LanguageModel, vocabulary: Vocabulary, wording: Wording) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.wording = wording
        self._table = _Table()

    @torch.no_grad()
    def open(
        self,
        prefix: Sequence[int],
        ids: Sequence[int],
        concepts: Sequence[ConceptTokens],
        names: Sequence[str],
        decoding: Decoding,
        seed: int,
        prefixes: PrefixCache,
    ) -> Speech:
        """Read a question after `prefix` (ids of task and picture) and say the first id."""
        model, device = self.model, self.model.device
        prefix_P = torch.tensor(prefix, device=device)
        before = prefixes.get(prefix_key(prefix), lambda: prefix_keys(model, model.frozen_rows(prefix_P)))
        bank = ConceptBank.stack(concepts) if concepts else ConceptBank.empty(model.width).to(device)
        x_1TD = model.embed(torch.tensor([ids], device=device), bank, torch.arange(len(concepts), device=device)[None])
        h_D, kv_LKHTE = read(model, x_1TD[0], len(prefix), before)
        state = _State(
            0,
            len(prefix) + len(ids),
            tuple(concepts),
            tuple(names),
            torch.cat([c.head_KD[:1] for c in concepts]) if concepts else x_1TD.new_zeros(0, model.width),
            torch.cat([c.bias_K[:1] for c in concepts]) if concepts else x_1TD.new_zeros(0),
            Generator().manual_seed(seed),
        )
        speech = Speech(decoding, state, [])
        self._say([speech], h_D[None])
        if not speech.stopped and not speech.broken:
            self._table.join(speech, torch.cat([before, kv_LKHTE], dim=3))
        return speech

    def close(self, speech: Speech) -> None:
        """Free its slot, if it still has one."""
        slot, used = speech.state.slot, self._table.open
        if slot < len(used) and used[slot] is speech:
            self._table.leave(speech)

    @torch.no_grad()
    def speak(self) -> None:
        """The next id of every open answer; those that stop give their slots back."""
        speeches, model = list(self._table.open), self.model
        if not speeches:
            return
        R = max(len(speeches), LEAST_ROWS)
        lengths = [speech.state.length for speech in speeches] + [0] * (R - len(speeches))
        S = rounded(max(lengths) + 1)
        kv = self._table.reserve(R, S)
        lengths_R = torch.tensor(lengths, device=model.device)
        rows_R = torch.arange(R, device=model.device)
        mask = (torch.arange(S, device=model.device) <= lengths_R[:, None])[:, None, None]

        def attend(number: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            kv[number, 0, rows_R, :, lengths_R] = k[:, :, 0]
            kv[number, 1, rows_R, :, lengths_R] = v[:, :, 0]
            return look(q, kv[number, 0, :R, :, :S], kv[number, 1, :R, :, :S], mask)

        h_R1D = through_layers(model, self._last_rows(speeches, R), lengths_R[:, None], attend)
        for speech in speeches:
            speech.state.length += 1
        self._say(speeches, h_R1D[:, 0])
        for speech in speeches:
            if speech.stopped or speech.broken:
                self._table.leave(speech)

    def heard(self, speech: Speech) -> str:
        """See `Stepper.heard`."""
        state = speech.state
        whole = self.text(speech)
        if not speech.stopped:
            whole = self.wording.whole(whole)
        piece = whole[len(state.sent) :]
        state.sent += piece
        return piece

    def text(self, speech: Speech) -> str:
        """See `Stepper.text`."""
        return self.wording.text(speech.ids, speech.state.names).strip()

    def _last_rows(self, speeches: Sequence[Speech], R: int) -> Tensor:
        """Embeddings [R, 1, D] of the ids said last."""
        size = self.vocabulary.size
        last = [speech.ids[-1] for speech in speeches] + [self.vocabulary.pad] * (R - len(speeches))
        frozen = [identifier if identifier < size else self.vocabulary.pad for identifier in last]
        x_RD = self.model.frozen_rows(torch.tensor(frozen, device=self.model.device))
        for row, identifier in enumerate(last):
            if identifier >= size:
                concept, learned = self.vocabulary.place(identifier)
                x_RD[row] = speeches[row].state.concepts[concept].embed_KD[learned].to(x_RD.dtype)
        return x_RD[:, None]

    def _say(self, speeches: Sequence[Speech], h_RD: Tensor) -> None:
        """Choose the next id of each speech from its final hidden state; rows beyond them are not looked at."""
        logits_RV = self.model.frozen_logits(h_RD, 0, self.vocabulary.size)
        # Row by row, so that no row's sums depend on how many rows or concepts its neighbours bring.
        columns, sound = [], []
        for row, speech in enumerate(speeches):
            logits_V = torch.cat([logits_RV[row], self._learned(speech, h_RD[row : row + 1])])
            fine = logits_V.isfinite().all()
            how = speech.decoding
            columns.append(
                next_tokens(logits_V.where(fine, 0.0)[None], how.top_k, how.temperature, speech.state.generator)
            )
            sound.append(fine)
        chosen, whole = torch.cat(columns).tolist(), torch.stack(sound).tolist()
        size = self.vocabulary.size
        for speech, column, fine in zip(speeches, chosen, whole, strict=True):
            if not fine:
                speech.broken = f"the model gave non-finite numbers at word piece {len(speech.ids) + 1}"
                continue
            speech.ids.append(column if column < size else self.vocabulary.row(column - size, 0))
            if speech.ids[-1] == self.vocabulary.eot:
                speech.stopped = "stop"
            elif len(speech.ids) >= speech.decoding.max_tokens:
                speech.stopped = "length"

    @staticmethod
    def _learned(speech: Speech, h_1D: Tensor) -> Tensor:
        """Logits float32 [C] of the identifiers of the speech's concepts."""
        state = speech.state
        return functional.linear(h_1D.to(state.head_CD.dtype), state.head_CD)[0].float() + state.bias_C
