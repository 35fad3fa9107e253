"""Training on a Ray cluster: each run is a task, wherever there is room for it, and again elsewhere when its machine dies.

Its folder is one that all machines see, and a run continues from its last epoch, so that a second try costs no more than that.
"""

import asyncio
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, TaskCancelledError

from serve.config import Teaching, from_dict
from serve.folder import Folder
from serve.local_trainer import Launch, LocalTrainer, Training
from serve.training import RunFolder
from unictokens.cli.shell import FAILED, INTERRUPTED

TRIES = 3
"""How often a run whose process or machine dies is begun again."""


def lesson(arguments: Sequence[str], told: str) -> int:
    """`unictokens train` in a process of Ray's; returns its exit code."""
    from unictokens.cli.main import main

    with Path(told).open("a", buffering=1, encoding="utf-8") as out, redirect_stdout(out), redirect_stderr(out):
        try:
            return main(list(arguments))
        except Exception:  # as a process would: told in the run's log, and an exit code
            traceback.print_exc()
            return FAILED


class RayTraining:
    """A training as a task of Ray."""

    def __init__(self, exit_code: Any, told: Path) -> None:
        self._exit_code = exit_code
        self._told = told

    def wait(self, seconds: float) -> int | None:
        """See `Training`."""
        done, _ = ray.wait([self._exit_code], timeout=seconds)
        if not done:
            return None
        try:
            return ray.get(self._exit_code)
        except TaskCancelledError:
            return INTERRUPTED
        except RayError as error:
            with self._told.open("a", encoding="utf-8") as stream:
                stream.write(f"{error}\nerror: the machine that trained was lost too often: teach it again\n")
            return FAILED

    def stop(self) -> None:
        """See `Training`."""
        ray.cancel(self._exit_code)

    def kill(self) -> None:
        """See `Training`."""
        ray.cancel(self._exit_code, force=True)


def on_ray(teaching: Teaching) -> Launch:
    """Launches tasks that ask for as much as `teaching` says; those that do not fit yet wait."""
    # A process for each run: whatever it has kept, memory of a GPU first of all, ends with it.
    remote = ray.remote(num_cpus=teaching.cpus, num_gpus=teaching.gpus, max_retries=TRIES, max_calls=1)
    task = remote(lesson).options(name="lesson")

    def launch(arguments: Sequence[str], told: Path) -> Training:
        return RayTraining(task.remote(list(arguments), str(told)), told)

    return launch


class Teacher:
    """Trains uploaded concepts. There is one, so that no run is taken up twice."""

    def __init__(self, settings: dict[str, Any]) -> None:
        config = from_dict(settings)
        assert config.teaching is not None
        teaching, negatives = config.teaching, config.teaching.negatives
        self._trainer = LocalTrainer(
            Folder(Path(config.folder)).concepts,
            ("--config", teaching.config, "--backbone", config.backbone, "--device", config.device),
            None if negatives is None else Path(negatives),
            launch=on_ray(teaching),
            together=teaching.together,
        )

    async def start(self, folder: str, store: str, name: str) -> None:
        """Queue a run. Raises Refusal when too many wait."""
        await asyncio.to_thread(self._trainer.start, RunFolder(Path(folder)), Path(store), name)

    async def cancel(self, folder: str) -> None:
        """End a run; when this returns nothing of it is running."""
        await asyncio.to_thread(self._trainer.cancel, RunFolder(Path(folder)))

    def __del__(self) -> None:
        if hasattr(self, "_trainer"):
            self._trainer.close()
