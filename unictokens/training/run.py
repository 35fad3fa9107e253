"""A run: one concept with one configuration through all stages, saved after every epoch and resumed from there.

Where its host has to go, it is saved after the step under way as well; the next host goes on with the step after it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unictokens.concepts.bundle import ConceptBundle, save_bundle
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import config_hash, to_dict
from unictokens.lookup import resolve
from unictokens.methods.base import METHODS, Method, Setting
from unictokens.methods.perception import PerceptionRequest, Sighting
from unictokens.tracking.base import Tracker
from unictokens.training.bundles import bundle_of
from unictokens.training.checkpoint import (
    Checkpoint,
    Cursor,
    Identity,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)
from unictokens.training.engine import Engine
from unictokens.training.history import EpochRecord, History, best_epoch, summarise
from unictokens.training.losses import StepLosses
from unictokens.training.observer import Observer
from unictokens.training.preview import Previewer
from unictokens.training.session import Progress, Session
from unictokens.training.state import RunState
from unictokens.training.step import Look, Outcome

log = logging.getLogger(__name__)

BUNDLE_FILE = "concept.safetensors"


@dataclass(frozen=True)
class RunResult:
    """How a run ended: its bundle when it is finished, None when its host stopped it; the last epoch's mean losses.

    seconds  wall time of training steps, all sessions of the run together
    """

    bundle: ConceptBundle | None
    stage: str
    epoch: int
    losses: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return self.bundle is not None


class Run:
    """The state of a run together with its folder, tracker and host. Its owner makes steps and hands in the outcomes.

    folder  checkpoints/*.safetensors, history.jsonl, answers.jsonl, previews/*.png, perception/*.png, concept.safetensors
    saved   called when a new state is complete in the folder, for folders that are copied elsewhere; may raise StorageError
    """

    def __init__(
        self,
        engine: Engine,
        setting: Setting,
        folder: Path,
        *,
        tracker: Tracker,
        session: Session,
        created: str = "",
        observer: Observer | None = None,
        saved: Callable[[], None] = lambda: None,
    ) -> None:
        method: Method = resolve(METHODS, setting.config.method, "method")()
        self.state = RunState(setting, method, engine.device)
        self._setting = setting
        self._folder = folder
        self._tracker = tracker
        self._session = session
        self._created = created
        self._observer = observer
        self._saved = saved
        self._history = History(folder / "history.jsonl")
        self._previewer = Previewer(setting, folder, tracker)
        # The digest reads every picture of the concept: once per run.
        self._identity = Identity(
            setting.record.name, config_hash(setting.config), setting.record.digest(), setting.backbone.info.fingerprint
        )
        self._steps: list[StepLosses] = []
        self._seconds = 0.0
        self._tracked_steps = 0

    @property
    def over(self) -> bool:
        """Whether all stages are done."""
        return self.state.over

    def open(self) -> None:
        """Continue from the newest intact checkpoint of the folder, or begin the first stage.

        Raises TrainingError for a folder of another run, and what rules of the first stage refuse.
        """
        config = self._setting.config
        named = {"concept": self.state.name, "config_hash": config_hash(config)}
        self._tracker.params({**named, **flat(to_dict(config))})
        checkpoint = load_newest(self._checkpoints, self._identity)
        if checkpoint is None:
            self.state.look(0, None)  # which refuses a first stage that wants to see drawings
            self._enter(0, None)
            return
        cursor = checkpoint.cursor
        within = f" and {cursor.step} steps" if cursor.step else ""
        log.info("'%s' continues after %s, epoch %d%s", self.state.name, cursor.stage, cursor.epoch, within)
        self.state.resume(checkpoint)
        self._steps, self._seconds = list(checkpoint.steps), checkpoint.seconds
        self._history.reopen(cursor)
        self._tracked_steps = sum(record.steps for record in self._history.records)
        if self._history.records:
            # Whoever was killed between saving an epoch and telling of it has not told; trackers know what they were told.
            self._tell(self._history.records[-1])

    @property
    def at_stage_end(self) -> bool:
        """Whether the next stage must begin before the next step."""
        return self.state.stage_over and not self.over

    def look(self) -> PerceptionRequest | None:
        """At a stage's end: the pictures that the next stage needs, for `begin_stage`; None where it needs none."""
        return self.state.look(self.state.number + 1, self._stage_start())

    def begin_stage(self, sightings: tuple[Sighting, ...]) -> None:
        """At a stage's end: begin the next one."""
        self._enter(self.state.number + 1, self._stage_start(), sightings)

    def prepare(self) -> None:
        """Build the samples of the coming step, which encodes pictures that nobody has encoded yet."""
        _ = self.state.lessons

    def see(self, look: Look) -> None:
        """Show the observer a step that this run was part of; before `take`."""
        if self._observer is not None:
            self._observer.stepped(self.state, look)

    def take(self, outcome: Outcome, seconds: float) -> bool:
        """Count a step that `train_step` made, of which `seconds` were for this run; whether more steps are to come.

        After an epoch its state is on disk, and the host may say stop; within one the host may say that it has to go, whereupon
        the state is on disk too. Raises the outcome's error.
        """
        if outcome.error is not None:
            raise outcome.error
        place, steps = self.state.place, len(self.state.lessons.steps)
        self._steps.append(outcome.losses)
        self._seconds += seconds
        self._session.report(
            Progress(
                concept=self.state.name,
                stage=place.stage,
                epoch=place.epoch,
                epochs=self.state.stage.config.epochs,
                step=place.step,
                steps=steps,
                losses=outcome.losses.values(),
            )
        )
        if self.state.advance():
            self._end_epoch()
            return not self.over and not self._session.should_stop()
        if self._session.should_leave():
            self._save()
            return False
        return True

    def result(self) -> RunResult:
        """Where the run stands; writes the bundle when all stages are done. Raises StorageError."""
        records = self._history.records
        losses = records[-1].losses if records else {}
        seconds = sum(record.seconds for record in records) + self._seconds
        bundle = self._bundle(losses) if self.over else None
        if bundle is not None:
            save_bundle(bundle, self._folder / BUNDLE_FILE)
            self._saved()
        return RunResult(bundle, self.state.stage.name, self.state.epoch, losses, seconds)

    @property
    def _checkpoints(self) -> Path:
        return self._folder / "checkpoints"

    @property
    def _kept(self) -> frozenset[tuple[int, int]]:
        """Checkpoints that stay: stage ends, epochs that the next stage starts from, the last stage's best so far."""
        stages = self.state.stages
        ends = {(number, stage.config.epochs) for number, stage in enumerate(stages)}
        starts = {(number - 1, stage.config.start_epoch) for number, stage in enumerate(stages) if number}
        best = (len(stages) - 1, best_epoch(self._history.records, len(stages) - 1))
        return frozenset(ends | {(number, epoch) for number, epoch in (*starts, best) if epoch is not None})

    def _enter(self, number: int, tokens: ConceptTokens | None, sightings: tuple[Sighting, ...] = ()) -> None:
        beginning = self.state.enter(number, tokens, sightings)
        if self._observer is not None:
            self._observer.begun(self.state, beginning)
        self._previewer.show(self.state.stage, beginning.sightings, self._tracked_steps)
        self._save()

    def _stage_start(self) -> ConceptTokens:
        """The rows that the next stage continues from: the last, or those of the epoch that it names."""
        start = self.state.stages[self.state.number + 1].config.start_epoch
        if start is None or start == self.state.epoch:
            return self.state.rows.tokens().detach()
        cursor = Cursor(self.state.number, self.state.stage.name, start)
        return self.state.tokens_of(load_checkpoint(self._checkpoints, cursor, self._identity))

    def _end_epoch(self) -> None:
        cursor = self.state.cursor
        record = summarise(cursor, self._steps, self._seconds)
        self._tracked_steps += record.steps
        self._history.reopen(cursor)
        self._history.add(record)
        self._steps, self._seconds = [], 0.0
        self._save()
        self._tell(record)
        if self._previewer.due(self.state.stage, cursor.epoch):
            self._previewer.make(cursor, self.state.stage, self.state.rows.tokens().detach(), self._tracked_steps)

    def _tell(self, record: EpochRecord) -> None:
        """An epoch's losses: each as one curve over the whole run, and once more beside those of its stage alone."""
        losses = {f"{name}_loss": value for name, value in record.losses.items()}
        staged = {f"{record.stage}/{name}": value for name, value in losses.items()}
        place = {"stage": record.number, "epoch": record.epoch}
        self._tracker.metrics(self._tracked_steps, {**losses, **staged, **place})

    def _save(self) -> None:
        checkpoint = Checkpoint(self.state.cursor, self.state.rows.state(), tuple(self._steps), self._seconds)
        save_checkpoint(self._checkpoints, self._identity, checkpoint, self._kept)
        self._saved()

    def _bundle(self, losses: dict[str, float]) -> ConceptBundle:
        setting, tokens = self._setting, self.state.rows.tokens().detach()
        return bundle_of(
            setting.record,
            setting.config,
            setting.backbone.info,
            self.state.stage,
            self.state.epoch,
            tokens,
            self._identity,
            losses,
            self._created,
        )


def flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    """A nested config as dotted paths, for trackers."""
    found: dict[str, object] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            found.update(flat(value, path + "."))
        else:
            found[path] = value
    return found
