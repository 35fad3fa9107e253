"""Where a run is and what it has learned: all that a training step reads and changes."""

from dataclasses import replace

import torch

from unictokens.backbones.base import GenerationSample, MaskDraw, UnderstandingSample
from unictokens.concepts.tokens import ConceptTokens
from unictokens.data.epochs import Epoch
from unictokens.methods.base import Beginning, Method, Setting, Stage
from unictokens.methods.draws import Place
from unictokens.methods.perception import PerceptionRequest, Sighting
from unictokens.training.checkpoint import Checkpoint, Cursor
from unictokens.training.optimizer import PARTS, TrainedRows


class RunState:
    """One concept with one configuration on its way through the stages of its method.

    After `enter` it stands before the first step of a stage, after `resume` before that which comes next; `number` counts stages
    from 0, `epoch` counts finished epochs of the stage, `step` counts finished steps of the epoch under way.
    """

    rows: TrainedRows

    def __init__(self, setting: Setting, method: Method, device: torch.device) -> None:
        self.setting = setting
        self.method = method
        self.device = device
        self.stages = method.stages(setting.config)
        self.number = 0
        self.epoch = 0
        self.step = 0
        self._lessons: Epoch | None = None

    @property
    def name(self) -> str:
        """The concept's name."""
        return self.setting.record.name

    @property
    def stage(self) -> Stage:
        """The stage the run is in."""
        return self.stages[self.number]

    @property
    def place(self) -> Place:
        """The step that comes next."""
        return Place(self.stage.name, self.epoch + 1, self.step + 1)

    @property
    def lessons(self) -> Epoch:
        """The samples of the stage's epochs, built when first needed (it encodes pictures)."""
        if self._lessons is None:
            self._lessons = self.method.epoch(self.setting, self.stage)
        return self._lessons

    @property
    def cursor(self) -> Cursor:
        """The place between two steps where the run stands."""
        return Cursor(self.number, self.stage.name, self.epoch, self.step)

    @property
    def stage_over(self) -> bool:
        """Whether all epochs of the stage are done."""
        return self.epoch >= self.stage.config.epochs

    @property
    def over(self) -> bool:
        """Whether all stages are done."""
        return self.stage_over and self.number + 1 == len(self.stages)

    def look(self, number: int, tokens: ConceptTokens | None) -> PerceptionRequest | None:
        """The pictures that stage `number` needs to begin on top of `tokens`, None where it needs none."""
        return self.method.look(self.setting, self.stages[number], tokens)

    def enter(self, number: int, tokens: ConceptTokens | None, sightings: tuple[Sighting, ...] = ()) -> Beginning:
        """Begin stage `number` on top of the rows of the stage before (None before the first); `look` says what it must see."""
        self.number, self.epoch, self.step = number, 0, 0
        # Backbones hand out rows on the CPU; the stage's new rows join there.
        before = None if tokens is None else ConceptTokens(tokens.layout, *(part.cpu() for part in tokens.tensors()))
        beginning = self.method.begin(self.setting, self.stage, before, sightings)
        self._open(beginning.tokens)
        return beginning

    def resume(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint was written, as if never interrupted."""
        cursor = checkpoint.cursor
        self.number, self.epoch, self.step = cursor.number, cursor.epoch, cursor.step
        self._open(self.tokens_of(checkpoint))
        self.rows.restore(checkpoint.tensors)

    def tokens_of(self, checkpoint: Checkpoint) -> ConceptTokens:
        """The rows of a checkpoint of this run."""
        return ConceptTokens(
            self.setting.config.layout, *(checkpoint.tensors[f"rows.{part}"].to(self.device) for part in PARTS)
        )

    def _open(self, tokens: ConceptTokens) -> None:
        on_device = ConceptTokens(tokens.layout, *(tensor.to(self.device) for tensor in tokens.tensors()))
        trained = self.setting.config.layout.rows(*self.stage.config.trains)
        self.rows = TrainedRows(on_device, trained, self.stage.config.optim)
        self._lessons = None

    def samples(self, slot: int) -> tuple[list[UnderstandingSample], list[tuple[GenerationSample, MaskDraw]]]:
        """The samples of the next step; `slot` is this run's place in the bank of the batch."""
        step = self.lessons.steps[self.step]
        understanding = [replace(sample, concepts=(slot,)) for sample in step.understanding]
        generation = [replace(sample, concepts=(slot,)) for sample in step.generation]
        draws = self.setting.draws.masks(
            self.place,
            len(generation),
            generation[0].codes_N.numel() if generation else 0,
            self.stage.config.condition_dropout,
        )
        return understanding, list(zip(generation, draws, strict=True))

    def advance(self) -> bool:
        """Count a finished step; True when it was the last of its epoch.

        With the last of its stage the rows become their mean over the epochs that the stage averages.
        """
        config = self.stage.config
        if self.epoch >= config.epochs - int(config.average * config.epochs):
            self.rows.count()
        self.step += 1
        if self.step < len(self.lessons.steps):
            return False
        self.step = 0
        self.epoch += 1
        if self.stage_over:
            self.rows.settle()
        return True
