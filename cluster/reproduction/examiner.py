"""Holds examinations, one after the other, with one loaded backbone; and a pool of such examiners on a machine's cores or GPUs."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from cluster.engines import EngineSettings
from cluster.reproduction.tasks import ABILITY_FILE, DONE_FILE, ExamTask, Looks
from unictokens.atomic import write_json
from unictokens.backbones import load_backbone
from unictokens.backbones.base import Backbone
from unictokens.concepts.bundle import ConceptBundle
from unictokens.data.catalog import Catalog
from unictokens.evaluation.ability import AbilitySettings, measure_ability
from unictokens.evaluation.exam import ExamSettings
from unictokens.evaluation.similarity import Encoders, look, open_encoders
from unictokens.evaluation.toyland_judge import ToylandJudge
from unictokens.evaluation.toyland_reader import ToylandReader
from unictokens.evaluation.unifybench import Bench, rule
from unictokens.learn import Output
from unictokens.training.bundles import bundle_after
from unictokens.training.pack import OWN_FAULTS

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
ATTEMPTS = 2
"""How often an examination is begun whose process dies."""

Tell = Callable[[int, int], None]
"""Is told how many of how many examinations are over."""


@dataclass(frozen=True, kw_only=True)
class ExaminerSettings:
    """What examiners work with. `count` of them, each with `cpus` cores (computing threads) and `gpus` 0 or 1."""

    data: Path
    output: Path
    engine: EngineSettings
    count: int
    cpus: int
    gpus: int


class Examiner:
    """Loads when first asked; `sit` never raises for what an examination's own data, rows or disk refuse."""

    def __init__(self, settings: ExaminerSettings, backbone: Backbone | None = None) -> None:
        """backbone  one that is loaded already, in place of the settings' own"""
        torch.set_num_threads(settings.cpus)
        self._settings = settings
        self._device = "cuda" if settings.gpus else "cpu"
        self._opened: dict[Looks, Encoders] = {}
        self._given = backbone

    def sit(self, task: ExamTask) -> str:
        """Hold an examination or go on with it; "" when it is complete, else the reason, in one line."""
        try:
            self._sit(task)
        except OWN_FAULTS as error:
            log.warning("examination '%s' failed", task.folder, exc_info=error)
            return " ".join(str(error).split())[:300] or type(error).__name__
        return ""

    def _sit(self, task: ExamTask) -> None:
        if isinstance(task.exam, AbilitySettings):
            shares = measure_ability(self._backbone, self._bundle(task), task.exam, self._reader)
            fingerprint = self._backbone.info.fingerprint
            columns = {column: asdict(share) for column, share in shares.items()}
            write_json(task.folder / ABILITY_FILE, {"backbone": fingerprint, "columns": columns})
            opened: list[str] = []
        else:
            opened = self._examine(task, task.exam)
        write_json(task.folder / DONE_FILE, task.made(opened))

    def _examine(self, task: ExamTask, exam: ExamSettings) -> list[str]:
        """Returns the names of the encoders that have seen the drawings."""
        record = self._catalog.concept(task.concept)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        bench = Bench(
            backbone=self._backbone,
            bundle=self._bundle(task),  # type: ignore[arg-type]  # controls have none and need none
            version=None,
            record=record,
            prompts=task.prompts,
            settings=exam,
            mode="correct",
            created=created,
        )
        manifest = bench.hold(task.contender, task.folder)
        for reason in rule({task.contender: manifest}, record, self._judge, created, lambda text: None):
            log.warning("without a verdict in '%s': %s", task.folder, reason)
        if task.looks is None:
            return []
        encoders = self._encoders(task.looks)
        look({task.contender: manifest}, record, encoders, created)
        opened = {"clip": encoders.clip, "dino": encoders.dino, "faces": encoders.face}
        return [name for name, encoder in opened.items() if not isinstance(encoder, str)]

    def _encoders(self, looks: Looks) -> Encoders:
        if looks not in self._opened:
            self._opened[looks] = open_encoders(looks.clip, looks.dino, looks.faces, self._device)
        return self._opened[looks]

    def _bundle(self, task: ExamTask) -> ConceptBundle | None:
        if task.plan is None:
            return None
        folder = Output(self._settings.output).run_folder(task.plan.name)
        record = self._catalog.concept(task.concept)
        return bundle_after(folder, record, task.plan.config, self._backbone.info, task.stage)

    @cached_property
    def _catalog(self) -> Catalog:
        return Catalog.open(self._settings.data)

    @cached_property
    def _backbone(self) -> Backbone:
        if self._given is not None:
            return self._given
        engine = self._settings.engine
        return load_backbone(
            engine.backbone, device=self._device, answer_start=engine.answer_start, precision=engine.precision
        )

    @cached_property
    def _reader(self) -> ToylandReader:
        return ToylandReader()

    @cached_property
    def _judge(self) -> ToylandJudge:
        return ToylandJudge(self._reader)


def hold_all(ray: Any, tasks: Sequence[ExamTask], settings: ExaminerSettings, tell: Tell) -> dict[Path, str]:
    """Hold examinations side by side; returns why some are incomplete, by folder.

    ray  the running Ray. A process that dies costs the examination that it held one attempt.
    """
    waiting = deque((task, 1) for task in {task.folder: task for task in tasks}.values())
    total, over = len(waiting), 0
    failed: dict[Path, str] = {}
    resources: dict[str, Any] = {"num_cpus": settings.cpus, **({"num_gpus": 1} if settings.gpus else {})}
    hire = ray.remote(**resources)(Examiner).remote
    idle = [hire(settings) for _ in range(min(settings.count, total))]
    busy: dict[Any, tuple[Any, ExamTask, int]] = {}
    while waiting or busy:
        while idle and waiting:
            examiner, (task, attempt) = idle.pop(), waiting.popleft()
            busy[examiner.sit.remote(task)] = (examiner, task, attempt)
        for done in ray.wait(list(busy), num_returns=1, timeout=POLL_SECONDS)[0]:
            examiner, task, attempt = busy.pop(done)
            try:
                reason = ray.get(done)
                idle.append(examiner)
            except ray.exceptions.RayActorError as error:
                idle.append(hire(settings))
                if attempt < ATTEMPTS:
                    waiting.append((task, attempt + 1))
                    continue
                reason = f"the process that examined it died {attempt} times ({' '.join(str(error).split())[:120]})"
            over += 1
            tell(over, total)
            if reason:
                failed[task.folder] = reason
    for examiner in idle:
        ray.kill(examiner)
    return failed
