"""Our trainer against a recording of the published three-stage training, through the public `train_run`.

Every picture code, id and label must be equal; losses, gradients and rows agree to 1e-5 of the largest recorded value.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from unictokens.backbones.base import Drawing, GenerationRequest, Sampling
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.batch import Block, ShowOBatch
from unictokens.backbones.showo.config import ShowOConfig
from unictokens.backbones.showo.drawing import DrawingTask
from unictokens.backbones.showo.image_tokenizer import Magvit, MagvitConfig
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.data.catalog import Catalog
from unictokens.methods.base import Beginning
from unictokens.tracking.base import Trackers
from unictokens.training.engine import LocalEngine
from unictokens.training.optimizer import PARTS
from unictokens.training.pack import train_run
from unictokens.training.recording import RecordedDraws, Recording, StageRecording
from unictokens.training.state import RunState
from unictokens.training.step import Look

RELATIVE = 1e-5
"""Allowed difference of losses, gradients and rows, relative to the largest recorded magnitude."""
RELATIVE_ROWS = 3e-6
"""The same for rows of a stage with a large eps: tight enough to notice a wrong weight decay."""
SMALL_EPS = 1e-7
"""Below it, rounding of gradients is followed into the rows."""
GRADIENT_FLOOR = 1e-6
"""Allowed difference of gradients that are themselves small: they are differences of terms near 1, in float32."""
BEND = 0.05
"""Allowed difference of gradients per unit by which rounding has moved some number of the rows (0.02 was met)."""


RARE, FLIPS, MARGIN = 1e-4, 1, 1e-4
"""Share of a picture's bytes that may be one level off; codes of it that may flip then, and how near to zero the encoder
output must have been."""


@dataclass(frozen=True)
class Check:
    """One comparison: largest absolute difference and what is allowed (0 = must be equal)."""

    name: str
    difference: float
    allowed: float

    @property
    def ok(self) -> bool:
        """Whether the difference is allowed."""
        return self.difference <= self.allowed


@dataclass
class Comparison:
    """An observer that compares all it sees with the recording.

    slack  by part of the rows, float64 [R, ...]: how far rounding of the gradients so far may have moved each number
    """

    recording: Recording
    vocabulary: Vocabulary
    checks: list[Check] = field(default_factory=list)
    slack: dict[str, Tensor] = field(default_factory=dict)

    def begun(self, state: RunState, beginning: Beginning) -> None:
        """Rows before the first step; perception, where it happened; the optimizer's settings."""
        stage = self.recording.stages[state.stage.name]
        for part, mine in zip(PARTS, beginning.tokens.tensors(), strict=True):
            self._rows(stage, 0, part, mine)
        trained = torch.tensor(state.setting.config.layout.rows(*state.stage.config.trains))
        self._equal(f"{stage.name}.trained", trained, stage.trained)
        optim, recorded = state.stage.config.optim, stage.optimizer
        self._equal(f"{stage.name}.optimizer", _numbers(optim), _numbers(recorded))
        if beginning.sightings:
            self._perceived(beginning)
        for number, step in enumerate(state.lessons.steps, start=1):
            for key, samples in (("mmu", step.understanding), ("t2i", step.generation)):
                if samples:
                    mine = torch.stack([sample.codes_N for sample in samples])
                    self._equal(
                        f"{stage.name}.data.{number:03d}.{key}_codes", mine, stage.at("data", number, f"{key}_codes")
                    )
        self._equal(f"{stage.name}.steps", torch.tensor(len(state.lessons.steps)), torch.tensor(stage.steps))

    def stepped(self, state: RunState, look: Look) -> None:
        """Ids, labels, losses, gradients, and rows after the step."""
        stage, place = self.recording.stages[state.stage.name], state.place
        number = stage.number(place.epoch, place.step)
        name = f"{stage.name}.step.{number:03d}"
        ids, labels = self._sequences(look.batch, stage, number)
        self._equal(f"{name}.input_ids", ids, stage.at("step", number, "input_ids"))
        self._equal(f"{name}.labels", labels, stage.at("step", number, "labels"))
        drawn, asked, total = stage.at("step", number, "losses").tolist()
        mine = look.losses[0]
        for key, value, recorded in (
            ("t2i", mine.generation, drawn),
            ("mmu", mine.understanding, asked),
            ("total", mine.total, total),
        ):
            if value is not None:
                self._near(f"{name}.loss_{key}", torch.tensor(value), torch.tensor(recorded))
        moved = max((float(slack.max()) for slack in self.slack.values() if slack.numel()), default=0.0)
        floor = max(GRADIENT_FLOOR, BEND * moved)
        for part, gradient in zip(PARTS, look.gradients[0], strict=True):
            recorded = stage.at("step", number, f"grad_{part}")
            self._near(f"{name}.grad_{part}", gradient, recorded[stage.trained], floor)
            self._count_rounding(stage, part, gradient, recorded)
        for part, rows in zip(PARTS, state.rows.tokens().tensors(), strict=True):
            self._rows(stage, number, part, rows.detach())

    def _perceived(self, beginning: Beginning) -> None:
        tensors = self.recording.perception[0]
        for number, sighting in enumerate(beginning.sightings):
            name = f"image.{number:02d}"
            for key, mine in (
                ("codes_step10", sighting.early_N),
                ("codes_step35", sighting.late_N),
                ("codes_step50", sighting.final_N),
                ("differs_step35", sighting.region_N),
                ("painted", torch.from_numpy(np.array(sighting.view))),
            ):
                recorded = tensors[f"{name}.{key}"]
                check = self._picture if key == "painted" else self._equal
                check(f"perception.{name}.{key}", mine.reshape(recorded.shape), recorded)
        seen = torch.stack([beginning.sightings[at].seen_N for at in tensors["kmeans.order"].tolist()])
        self._equal("perception.kmeans.codes", seen, tensors["kmeans.codes"])

    def _sequences(self, batch: ShowOBatch, stage: StageRecording, number: int) -> tuple[Tensor, Tensor]:
        """Ids and labels of a batch as the published code numbers and pads them."""
        length = stage.at("step", number, "input_ids").shape[1]
        blocks = [block for block in (batch.generation, batch.understanding) if block is not None]
        ids, labels = zip(*(self._padded(block, length) for block in blocks), strict=True)
        return self._renumbered(torch.cat(ids), stage.rows), self._renumbered(torch.cat(labels), stage.rows)

    def _padded(self, block: Block, length: int) -> tuple[Tensor, Tensor]:
        pad = torch.nn.functional.pad
        sides = (block.dropped, length - block.dropped - block.ids_BT.shape[1])
        return pad(block.ids_BT, sides, value=self.vocabulary.pad), pad(block.labels_BT, sides, value=IGNORE)

    def _renumbered(self, ids: Tensor, rows: int) -> Tensor:
        """The published vocabulary has the concept's rows between text and image codes; ours has them after the mask."""
        first, size = self.vocabulary.code_offset, self.vocabulary.size
        learned, image = ids >= size, (ids >= first) & (ids < size)
        return ids + learned * (first - size) + image * rows

    def _equal(self, name: str, mine: Tensor, recorded: Tensor) -> None:
        self.checks.append(Check(name, _difference(mine, recorded), 0.0))

    def _picture(self, name: str, mine: Tensor, recorded: Tensor) -> None:
        """Pictures are truncated to bytes and convolutions round differently on every processor: one level, rarely, may differ."""
        rarely = (mine != recorded).double().mean().item() <= RARE
        self.checks.append(Check(name, _difference(mine, recorded), 1.0 if rarely else 0.0))

    def _near(self, name: str, mine: Tensor, recorded: Tensor, floor: float = 0.0) -> None:
        allowed = max(floor, RELATIVE * recorded.abs().max().item())
        self.checks.append(Check(name, _difference(mine, recorded), allowed))

    def _count_rounding(self, stage: StageRecording, part: str, gradient: Tensor, recorded: Tensor) -> None:
        """AdamW's step is a gradient over its own size: rounding by a share of that size moves a number by that share of lr.

        With a tiny eps this is much where a gradient is tiny itself; a large eps hides it, and gets no slack.
        """
        optim = stage.optimizer
        if optim.eps < SMALL_EPS:
            size = recorded[stage.trained].double().abs() + optim.eps
            apart = (gradient.double() - recorded[stage.trained].double()).abs()
            slack = self._slack(part, recorded)
            slack[stage.trained] += optim.lr * apart / size
            self.slack[part] = slack

    def _slack(self, part: str, rows: Tensor) -> Tensor:
        """The slack so far for `rows` [R, ...]; rows that are new in a stage have none."""
        slack = torch.zeros(rows.shape, dtype=torch.float64)
        before = self.slack.get(part, slack[:0])
        slack[: len(before)] = before
        return slack

    def _rows(self, stage: StageRecording, number: int, part: str, mine: Tensor) -> None:
        """Rows after step `number` (0: before the first). What the gradients' rounding explains, number by number, is not
        counted: the difference is what is left."""
        recorded = stage.at("rows", number, part)
        slack = self._slack(part, recorded)
        nearest = mine.double().clamp(recorded.double() - slack, recorded.double() + slack)
        allowed = (RELATIVE if stage.optimizer.eps < SMALL_EPS else RELATIVE_ROWS) * recorded.abs().max().item()
        moved = mine.double() - nearest
        self.checks.append(
            Check(f"{stage.name}.rows.{number:03d}.{part}", _difference(moved, torch.zeros_like(moved)), allowed)
        )


class SteadyShowO(ShowO):
    """A Show-o that draws in the published order of random numbers, and whose codes of a recorded picture are the recorded ones, where
    only a byte's rounding keeps them apart.

    One flipped sign in one picture that perception painted would move every centre and so the whole last stage.
    """

    recorded_PN: Tensor
    margins_P: Tensor

    def encode(self, images_BCHW: Tensor) -> Tensor:
        codes_BN = super().encode(images_BCHW)
        for at, codes_N in enumerate(codes_BN):
            apart_P = (self.recorded_PN != codes_N).sum(1)
            nearest = int(apart_P.argmin())
            if 0 < int(apart_P[nearest]) <= FLIPS and float(self.margins_P[nearest]) < MARGIN:
                codes_BN[at] = self.recorded_PN[nearest]
        return codes_BN

    def generate(self, requests: Sequence[GenerationRequest], bank: ConceptBank, sampling: Sampling) -> list[Drawing]:
        task = DrawingTask(self.language_model, self.sequences, self.config.num_vq_tokens, bank)
        drawn = []
        for each in requests:
            generator = Generator().manual_seed(each.seed)
            drawn += task.run([self.sequences.text(each.prompt)], [each.concepts], sampling, generator)
        return drawn


def is_recording(folder: Path) -> bool:
    """Whether a folder looks like a training recording."""
    return all((folder / name).is_file() for name in ("weights.json", "stage1.safetensors"))


def compare(folder: Path, tokenizer: TextTokenizer) -> list[Check]:
    """Train as the recording in `folder` did, with the published text tokenizer, and compare everything.

    Runs on one thread, as the recording did: sums of several threads round differently, and a painted picture is bytes.
    Raises DataError for a folder that is no recording.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _compare(folder, tokenizer)
    finally:
        torch.set_num_threads(threads)


def _compare(folder: Path, tokenizer: TextTokenizer) -> list[Check]:
    recording = Recording(folder)
    config = recording.config
    backbone = recorded_backbone(recording, tokenizer)
    comparison = Comparison(recording, backbone.vocabulary)
    record = Catalog.open(folder / "dataset").concept(recording.about["concept"])
    with tempfile.TemporaryDirectory() as run_folder:
        train_run(
            LocalEngine(backbone),
            record,
            config,
            Path(run_folder),
            tracker=Trackers(()),
            draws=RecordedDraws(recording),
            observer=comparison,
        )
    wanted = sum(stage.all_steps for stage in recording.stages.values())
    seen = sum(check.name.endswith(".loss_total") for check in comparison.checks)
    return [*comparison.checks, Check("steps", float(abs(wanted - seen)), 0.0)]


def recorded_backbone(recording: Recording, tokenizer: TextTokenizer) -> ShowO:
    """The recording's tiny Show-o with its seeded weights."""
    about = recording.about
    shapes: dict[str, Any] = about["vq"]["shapes"]
    magvit = MagvitConfig(base=shapes["encoder.conv_in.weight"][0], bits=shapes["quantize.power_vals"][0])
    vocabulary = about["model"]["shapes"]["showo.lm_head.bias"][0]
    config = ShowOConfig(
        phi=about["phi_config"],
        text_size=vocabulary - 2**magvit.bits - 11,
        codebook_bits=magvit.bits,
        num_vq_tokens=about["num_vq_tokens"],
        image_size=about["resolution"],
        magvit=magvit,
    )
    language_model = LanguageModel(config.phi, config.vocab_size).eval().requires_grad_(False)
    language_model.load_state_dict(recording.seeded_weights("model"))
    image_tokenizer = Magvit(magvit).eval().requires_grad_(False)
    # The code book's buffers are the same for every model of this many bits; all else must be there.
    fixed = {key: tensor for key, tensor in image_tokenizer.state_dict().items() if key.startswith("quantize.")}
    image_tokenizer.load_state_dict({**recording.seeded_weights("vq"), **fixed})
    backbone = SteadyShowO(config, language_model, image_tokenizer, tokenizer, name="recorded")
    seen = recording.perception[0]
    backbone.recorded_PN, backbone.margins_P = seen["kmeans.codes"].long(), seen["kmeans.code_margin"].flatten()
    return backbone


def _numbers(optim: Any) -> Tensor:
    return torch.tensor([optim.lr, *optim.betas, optim.eps, optim.weight_decay], dtype=torch.float64)


def _difference(mine: Tensor, recorded: Tensor) -> float:
    """Largest absolute difference; infinite for other shapes or a NaN."""
    if mine.shape != recorded.shape:
        return float("inf")
    difference = (mine.double() - recorded.double()).abs().max().item() if mine.numel() else 0.0
    return difference if difference == difference else float("inf")
