"""Many drawings at different steps in one pass: text read once for each, then one MaskGIT step of all at a time.

A row's keys are its image, then its text, then padding (see `dense` for why padding comes last).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unictokens.backbones.base import Sampling
from unictokens.backbones.showo.dense import frozen_logits, look, read, rounded, through_layers
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.steps import Canvas
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import RequestError
from unictokens.sampling.maskgit import HIDDEN, Schedule, advance


@dataclass(eq=False)
class _State:
    """What a canvas is drawn from; current_N int64 [N] has HIDDEN where the next step draws."""

    text_LKHTE: Tensor
    current_N: Tensor
    schedule: Schedule
    generator: Generator


@dataclass(frozen=True, eq=False)
class _Laid:
    """Texts of a pass beside each other: keys and values [L, 2, R, H, T, E], and who sees what, bool [R, 1, 1, S]."""

    texts: list[Tensor]
    text_LKRHTE: Tensor
    mask: Tensor


class Easel:
    """Draws with one model images of `codes` codes (N); tensors live on the model's device."""

    def __init__(self, model: LanguageModel, sequences: Sequences, codes: int) -> None:
        self.model = model
        self.sequences = sequences
        self.codes = codes
        self._nothing: Tensor | None = None
        self._laid: _Laid | None = None

    @torch.no_grad()
    def open(
        self,
        ids: Sequence[int],
        concepts: Sequence[ConceptTokens],
        sampling: Sampling,
        seed: int,
        start_N: Tensor | None,
    ) -> Canvas:
        """A canvas whose text is read (see `Stepper.open_canvas`)."""
        device = self.model.device
        blank_N = torch.full((self.codes,), HIDDEN, dtype=torch.long)
        current_N = (blank_N if start_N is None else start_N).to(device)
        hidden = int((current_N == HIDDEN).sum())
        if not hidden:
            raise RequestError("the mask covers nothing to draw: mark at least one place of the picture")
        state = _State(
            self._read(ids, concepts),
            current_N,
            Schedule.of(sampling.steps, sampling.temperature, hidden),
            Generator(device).manual_seed(seed),
        )
        return Canvas(sampling, current_N, state)

    @torch.no_grad()
    def draw(self, canvases: Sequence[Canvas]) -> None:
        """One step of each canvas.

        logits = (1 + guidance) * conditional - guidance * unconditional (Show-o section 3.5); an unguided canvas takes one row.
        """
        # Guided ones first, so that both kinds are slices, which are combined in place.
        canvases = sorted(canvases, key=lambda canvas: canvas.sampling.guidance <= 0.0)
        if not canvases:
            return
        device, states = self.model.device, [canvas.state for canvas in canvases]
        guidance = [canvas.sampling.guidance for canvas in canvases if canvas.sampling.guidance > 0.0]
        current_BN = torch.stack([state.current_N for state in states])
        row_M = (current_BN == HIDDEN).nonzero()[:, 0]
        logits_PC = self._logits(torch.cat([current_BN, current_BN[: len(guidance)]]), states, len(guidance))
        logits_MC, unconditional_GC = logits_PC[: len(row_M)], logits_PC[len(row_M) :]
        guided_GC = logits_MC[: len(unconditional_GC)]
        factor_G1 = torch.tensor(guidance, device=device)[row_M[: len(guided_GC)]][:, None]
        guided_GC.mul_(1.0 + factor_G1).sub_(unconditional_GC.mul_(factor_G1))
        # One number that is not finite makes the sum so.
        sound_B = torch.zeros(len(states), device=device).index_add_(0, row_M, logits_MC.sum(dim=1)).isfinite()
        sound = sound_B.tolist()
        if not all(sound):
            logits_MC = torch.where(sound_B[row_M][:, None], logits_MC, 0.0)
        steps = [(canvas.state.schedule, canvas.step) for canvas in canvases]
        hide_B1 = torch.tensor([[schedule.hide[step]] for schedule, step in steps], device=device)
        noise_B1 = torch.tensor([[schedule.noise[step]] for schedule, step in steps], device=device)
        generators = [state.generator for state in states]
        sampled_BN, again_BN = advance(logits_MC.softmax(dim=-1), current_BN, hide_B1, noise_B1, generators)
        current_BN = sampled_BN.masked_fill(again_BN, HIDDEN)
        for row, canvas in enumerate(canvases):
            if not sound[row]:
                canvas.broken = f"the model gave non-finite numbers in step {canvas.step + 1}"
            canvas.codes_N, canvas.state.current_N = sampled_BN[row], current_BN[row]
            canvas.step += 1

    def _read(self, ids: Sequence[int], concepts: Sequence[ConceptTokens]) -> Tensor:
        vocabulary = self.sequences.vocabulary
        room = [identifier for identifier in self.sequences.drawing_text(ids) if identifier != vocabulary.pad]
        bank = ConceptBank.stack(concepts) if concepts else ConceptBank.empty(self.model.width).to(self.model.device)
        ids_1T = torch.tensor([room], device=self.model.device)
        numbers_1S = torch.arange(len(concepts), device=self.model.device)[None]
        x_1TD = self.model.embed(ids_1T, bank, numbers_1S)
        return read(self.model, x_1TD[0], self.sequences.text_length + 1 - len(room))[1]

    def _logits(self, codes_RN: Tensor, states: Sequence[_State], unguided: int) -> Tensor:
        """Logits float32 [P, C] of the P HIDDEN places of codes int64 [R, N] beside each state's text, then `unguided` times beside no text."""
        texts = [state.text_LKHTE for state in states]
        if unguided:
            if self._nothing is None:
                self._nothing = self._read([], ())
            texts += [self._nothing] * unguided
        laid = self._lay(texts)
        ids, (R, N) = self.sequences.vocabulary, codes_RN.shape
        hidden_RN = codes_RN == HIDDEN
        image_RT = torch.nn.functional.pad((codes_RN + ids.code_offset).masked_fill(hidden_RN, ids.mask), (1, 1))
        image_RT[:, 0], image_RT[:, -1] = ids.soi, ids.eoi
        first = self.sequences.text_length + 1
        positions_RT = torch.arange(first, first + N + 2, device=codes_RN.device).expand(R, -1)

        def attend(number: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            text_KRHTE = laid.text_LKRHTE[number]
            return look(q, torch.cat([k, text_KRHTE[0]], dim=2), torch.cat([v, text_KRHTE[1]], dim=2), laid.mask)

        h_RTD = through_layers(self.model, self.model.frozen_rows(image_RT), positions_RT, attend)
        return frozen_logits(self.model, h_RTD[:, 1:-1][hidden_RN], ids.code_offset, ids.mask)

    def _lay(self, texts: list[Tensor]) -> _Laid:
        """The texts beside each other; the same ones as in the last step are there already."""
        old = self._laid
        if old is not None and len(old.texts) == len(texts) and all(map(_same, old.texts, texts)):
            return old
        image = self.codes + 2
        lengths = [text_LKHTE.shape[3] for text_LKHTE in texts]
        room = rounded(image + max(lengths)) - image
        L, K, H, _, E = texts[0].shape
        laid = texts[0].new_zeros(L, K, len(texts), H, room, E)
        for row, text_LKHTE in enumerate(texts):
            laid[:, :, row, :, : lengths[row]] = text_LKHTE
        ends_R1 = torch.tensor(lengths, device=laid.device)[:, None] + image
        seen_RS = torch.arange(image + room, device=laid.device) < ends_R1
        self._laid = _Laid(texts, laid, seen_RS[:, None, None])
        return self._laid


def _same(first: Tensor, second: Tensor) -> bool:
    return first is second
