"""A pack: runs that share every forward and backward pass, each on its own way through its own stages.

A run that ends leaves its place to the next one at once. Whatever goes wrong with one run ends that run alone.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unictokens.config import RunConfig
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError, TrainingError, UniCTokensError
from unictokens.methods.base import Setting
from unictokens.methods.draws import Draws, SeededDraws
from unictokens.methods.perception import PerceptionRequest, Sighting, watch
from unictokens.tracking.base import Tracker
from unictokens.training.engine import Engine
from unictokens.training.losses import UNKNOWN
from unictokens.training.observer import Observer
from unictokens.training.run import Run, RunResult
from unictokens.training.session import Alone, Session
from unictokens.training.step import Look, Outcome, train_step

log = logging.getLogger(__name__)

OWN_FAULTS = (UniCTokensError, RuntimeError, OSError)
"""What a run's data, loss, disk or memory may raise; anything else is a fault of the program and stops the pack."""


@dataclass(frozen=True, eq=False)
class Ended:
    """A run that left the pack: all stages done, stopped by its host, or (with the error) not able to go on."""

    run: Run
    error: Exception | None = None


def train_pack(engine: Engine, take: Callable[[], Run | None], width: int) -> Iterator[Ended]:
    """Train runs, at most `width` at a time, and hand each back as it ends.

    take  gives the next run, unopened, or None when none waits; asked again whenever a place is free
    Raises ConfigError for a width below one.
    """
    if width < 1:
        raise ConfigError(f"pack width {width} is below one: a pack needs at least one run")
    pack = _Pack(engine, width)
    while True:
        while len(pack.runs) < width and (run := take()) is not None:
            pack.add(run)
        if not pack.runs and not pack.ended:
            return
        pack.begin_stages()
        pack.step()
        yield from pack.ended
        pack.ended.clear()


def train_run(
    engine: Engine,
    record: ConceptRecord,
    config: RunConfig,
    folder: Path,
    *,
    tracker: Tracker,
    session: Session | None = None,
    draws: Draws | None = None,
    created: str = "",
    observer: Observer | None = None,
) -> RunResult:
    """Train one concept alone through all stages of its method, continuing whatever `folder` holds of this very run.

    tracker  told of metrics, previews and the bundle; not closed here
    session  the host; nobody by default
    draws    random numbers; from `config.seed` by default
    created  UTC time for the bundle's card; empty keeps the bundle a function of data, settings and seed alone
    observer shown every stage and step (for checks)
    Raises TrainingError for a loss that is not finite or a folder of another run, DataError, ConfigError, StorageError,
    and DependencyError where a rule needs an absent model.
    """
    host = session if session is not None else Alone()
    numbers = draws if draws is not None else SeededDraws(config.seed)
    setting = Setting(engine.backbone, record, config, numbers, engine.codes)
    run = Run(engine, setting, folder, tracker=tracker, session=host, created=created, observer=observer)
    waiting = [run]
    for ended in train_pack(engine, lambda: waiting.pop() if waiting else None, width=1):
        if ended.error is not None:
            raise ended.error
    return run.result()


class _Pack:
    """Runs in training, and those that ended since the list was last cleared."""

    def __init__(self, engine: Engine, width: int) -> None:
        self.runs: list[Run] = []
        self.ended: list[Ended] = []
        self._engine = engine
        self._at_once = width

    def add(self, run: Run) -> None:
        """Open a run; it leaves again if it has nothing to do or cannot begin."""
        self.runs.append(run)
        if self._try(run, run.open) and run.over:
            self._leave(run)

    def begin_stages(self) -> None:
        """Begin the next stage of every run that is at the end of one; their pictures are drawn together."""
        requests: dict[Run, PerceptionRequest] = {}
        beginning = [run for run in self.runs if run.at_stage_end]
        for run in beginning:
            self._try(run, lambda run=run: requests.update({run: wish} if (wish := run.look()) else {}))
        seen = self._watch(requests)
        for run in beginning:
            if run in self.runs:
                self._try(run, lambda run=run: run.begin_stage(seen.get(run, ())))

    def step(self) -> None:
        """One step of every run."""
        for run in tuple(self.runs):
            self._try(run, run.prepare)
        at, runs = 0, tuple(self.runs)
        while at < len(runs):
            group = runs[at : at + self._at_once]
            started = time.perf_counter()
            made = self._train(group)
            if made is None:  # too many at once: the same again with fewer
                continue
            at += len(group)
            seconds = (time.perf_counter() - started) / len(group)
            for run, (outcome, look) in zip(group, made, strict=True):
                self._count(run, outcome, look, seconds)

    def _watch(self, requests: dict[Run, PerceptionRequest]) -> dict[Run, tuple[Sighting, ...]]:
        backbone = self._engine.backbone
        try:
            return dict(zip(requests, watch(backbone, list(requests.values())), strict=True))
        except OWN_FAULTS as error:
            log.warning("drawing for %d runs together failed (%s): each alone", len(requests), error)
        seen: dict[Run, tuple[Sighting, ...]] = {}
        for run, request in requests.items():
            self._try(run, lambda run=run, request=request: seen.update({run: watch(backbone, [request])[0]}))
        return seen

    def _train(self, group: Sequence[Run]) -> list[tuple[Outcome, Look | None]] | None:
        """Outcomes of a shared step, or None when memory was too small for so many runs."""
        try:
            outcomes, look = train_step(self._engine, [run.state for run in group])
            return [(outcome, look) for outcome in outcomes]
        except torch.OutOfMemoryError:
            self._forget(group)  # and go on below, where the error and with it the tensors of the pass are gone
        except OWN_FAULTS as error:
            self._forget(group)
            if len(group) == 1:
                return [(Outcome(UNKNOWN, error), None)]
            # Nobody has moved yet. Alone, each shows whether the fault was its own.
            return [single for run in group for single in self._train([run]) or ()]
        return self._out_of_memory(group)

    @staticmethod
    def _forget(group: Sequence[Run]) -> None:
        for run in group:
            run.state.rows.forget()

    def _out_of_memory(self, group: Sequence[Run]) -> list[tuple[Outcome, Look | None]] | None:
        if self._engine.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(group) > 1:
            self._at_once = len(group) // 2
            log.warning("device memory is full with %d runs in a pass: going on with %d", len(group), self._at_once)
            return None
        advice = "lower the batch sizes of its stages, use a bfloat16 backbone, or offload it"
        error = TrainingError(f"concept '{group[0].state.name}' alone is too large for device memory: {advice}")
        return [(Outcome(UNKNOWN, error), None)]

    def _count(self, run: Run, outcome: Outcome, look: Look | None, seconds: float) -> None:
        if look is not None and outcome.error is None:
            run.see(look)
        going: list[bool] = []
        self._try(run, lambda: going.append(run.take(outcome, seconds)))
        if going == [False]:
            self._leave(run)

    def _try(self, run: Run, act: Callable[[], object]) -> bool:
        """Do something for a run; it leaves with the error if that fails, and the answer is False."""
        try:
            act()
        except OWN_FAULTS as error:
            self._leave(run, error)
            return False
        return True

    def _leave(self, run: Run, error: Exception | None = None) -> None:
        self.runs.remove(run)
        self.ended.append(Ended(run, error))
