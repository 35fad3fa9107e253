"""The examination of a sweep's runs: held by the lane that trained them, whose backbone is loaded already."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch

from cluster.engines import EngineSettings
from cluster.reproduction.examiner import Examiner, ExaminerSettings
from cluster.reproduction.tasks import DIGITS, ExamTask, Looks
from unictokens.errors import TrainingError
from unictokens.evaluation.exam import ExamSettings
from unictokens.learn import RunPlan
from unictokens.training.engine import Engine

CONTENDER = "tokens"


class Sitting:
    """How runs are examined after they are published. It travels to the lanes, and opens encoders and judges there when first used."""

    def __init__(
        self, data: Path, output: Path, exam: ExamSettings, looks: Looks | None, prompts: Mapping[str, tuple[str, ...]]
    ) -> None:
        """looks, prompts  encoders and evaluation prompts by concept; without `looks` nothing is drawn"""
        self.exam = exam if looks is not None else replace(exam, pure=0, knowledge=0, portraits=0)
        self._data = data
        self._output = output
        self._looks = looks
        self._prompts = {concept: texts if looks is not None else () for concept, texts in prompts.items()}
        self._examiner: Examiner | None = None

    def task(self, plan: RunPlan) -> ExamTask:
        """The examination of a run; the same one as a table's with the same settings."""
        prompts = self._prompts.get(plan.concept, ())
        text = json.dumps([asdict(self.exam), list(prompts), ""], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
        return ExamTask(
            folder=self._output / "exams" / plan.name / f"{plan.stages[-1][0]}-{digest}",
            concept=plan.concept,
            seed=plan.config.seed,
            contender=CONTENDER,
            plan=plan,
            stage="",
            exam=self.exam,
            prompts=prompts,
            looks=self._looks,
        )

    def __call__(self, engine: Engine, plan: RunPlan) -> None:
        """Hold the examination of a published run, or what is left of it. Raises TrainingError with the reason if it fails."""
        task = self.task(plan)
        if task.held:
            return
        if self._examiner is None:
            settings = ExaminerSettings(
                data=self._data,
                output=self._output,
                engine=EngineSettings.of(plan.config),
                count=1,
                cpus=torch.get_num_threads(),
                gpus=1 if engine.device.type == "cuda" else 0,
            )
            self._examiner = Examiner(settings, engine.backbone)
        reason = self._examiner.sit(task)
        if reason:
            raise TrainingError(f"the examination of run '{plan.name}' failed: {reason}")
