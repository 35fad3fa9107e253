"""Training uploaded concepts: runs wait in a queue, each is one `unictokens train`; here in processes of this machine."""

import logging
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serve.refusal import Refusal
from serve.training import RunFolder, run_folders
from serve.users.accounts import Clock
from unictokens.concepts.store import ConceptStore
from unictokens.data.catalog import Catalog
from unictokens.data.questions import write_stage_files
from unictokens.errors import StorageError, UniCTokensError

log = logging.getLogger(__name__)

LOG_FILE = "train.log"
UNCROPPED = ("--set", "stages.bootstrap.generation=photos")
"""Uploads are whole photos: nobody has cut the concept out of them, as the published dataset does."""
PATIENCE = 20.0
"""Seconds a training gets to end itself before it is killed."""
LOOK = 0.2
"""Seconds between looks at whether a training goes on or shall."""


class Training(Protocol):
    """One `unictokens train` under way, wherever that is."""

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None when it goes on after so many seconds."""
        ...

    def stop(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


Launch = Callable[[Sequence[str], Path], Training]
"""Begins `unictokens train` with these arguments; what it says is added to the file."""


class Process:
    """A training as a process of this machine."""

    def __init__(self, arguments: Sequence[str], told: Path) -> None:
        with told.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "unictokens", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, seconds: float) -> int | None:
        """See `Training`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """See `Training`."""
        self._process.terminate()

    def kill(self) -> None:
        """See `Training`."""
        self._process.kill()


@dataclass(frozen=True)
class _Task:
    folder: RunFolder
    store: Path
    name: str


class LocalTrainer:
    """Runs wait in a queue of at most `waiting`; unfinished ones below `root` are taken up again at the start.

    options    of `python -m unictokens train`: --config, --set, --backbone
    negatives  folder of random pictures without anybody's concept; without one a concept learns to say yes to any picture
    launch     where runs are trained, `together` of them at a time
    """

    def __init__(
        self,
        root: Path,
        options: tuple[str, ...] = (),
        negatives: Path | None = None,
        waiting: int = 32,
        clock: Clock = time.time,
        launch: Launch = Process,
        together: int = 1,
    ) -> None:
        self._options = options
        self._negatives = negatives
        self._clock = clock
        self._launch = launch
        self._most = waiting
        self._waiting: queue.Queue[_Task | None] = queue.Queue()
        self._lock = threading.Lock()
        self._current: set[RunFolder] = set()
        self._closing = False
        self._idle = threading.Condition(self._lock)
        self._take_up(root)
        self._threads = [threading.Thread(target=self._work, name="trainer", daemon=True) for _ in range(together)]
        for thread in self._threads:
            thread.start()

    def start(self, folder: RunFolder, store: Path, name: str) -> None:
        """Queue a run. Raises Refusal (503) when the queue is full."""
        with self._lock:
            if self._waiting.qsize() >= self._most:
                raise Refusal(503, "trainer_busy", "too many runs are waiting: try again later", retry_after=60)
            self._waiting.put(_Task(folder, store, name))

    def cancel(self, folder: RunFolder) -> None:
        """End a run, waiting or running; returns when nothing of it runs any more."""
        with self._idle:
            state = folder.read()
            if state is not None and not state.over:
                folder.change(status="cancelled", ended=self._clock())
            self._idle.wait_for(lambda: folder not in self._current, PATIENCE * 2)

    def close(self) -> None:
        """End the runs at work; they are taken up again by the next trainer."""
        with self._lock:
            self._closing = True
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(PATIENCE * 2)

    def _take_up(self, root: Path) -> None:
        for runs in root.glob("*/*/runs"):
            for folder in run_folders(runs.parent):
                state = folder.read()
                if state is not None and not state.over:
                    self._waiting.put(_Task(folder, runs.parent / "store", state.concept))

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            with self._lock:
                state = task.folder.read()
                if self._closing or state is None or state.over:
                    continue
                self._current.add(task.folder)
                task.folder.change(status="running", started=state.started or self._clock())
            try:
                self._train(task)
            except UniCTokensError as error:
                self._end(task.folder, status="failed", error=str(error))
            finally:
                with self._idle:
                    self._current.discard(task.folder)
                    self._idle.notify_all()

    def _train(self, task: _Task) -> None:
        folder, name = task.folder, task.name
        if self._negatives is not None and not (folder.data / "random_images").exists():
            shutil.copytree(self._negatives, folder.data / "random_images")
        write_stage_files(Catalog.open(folder.data), name)
        output = folder.output
        arguments = ["train", "--resume", "--concept", name, "--data", str(folder.data), "--out", str(output)]
        with self._lock:
            if self._closing or self._over(folder):
                return
            training = self._launch([*arguments, *self._options, *UNCROPPED], folder.path / LOG_FILE)
        code = self._wait(training, folder)
        with self._lock:
            if self._closing or self._over(folder):
                return
            if code != 0:
                self._end(folder, status="failed", error=_reason(folder.path / LOG_FILE))
                return
            # Under the lock: a concept that is deleted meanwhile is not published into a folder that has gone.
            version = ConceptStore(task.store).publish(ConceptStore(output / "store").get(name))
            self._end(folder, status="finished", version=version)
        shutil.rmtree(output, ignore_errors=True)

    def _wait(self, training: Training, folder: RunFolder) -> int:
        asked: float | None = None
        while (code := training.wait(LOOK)) is None:
            if not self._closing and not self._over(folder):
                continue
            if asked is None:
                asked = time.monotonic()
                training.stop()
            elif time.monotonic() - asked > PATIENCE:
                training.kill()
        return code

    def _over(self, folder: RunFolder) -> bool:
        state = folder.read()
        return state is None or state.over

    def _end(self, folder: RunFolder, **values: object) -> None:
        try:
            if not self._over(folder):
                folder.change(ended=self._clock(), **values)
        except StorageError as error:
            log.warning("the end of run %s cannot be kept: %s", folder.path.name, error)


def _reason(path: Path) -> str:
    """The line with which a failed training ended, without paths of this machine."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    told = [line.partition("error: ")[2] for line in lines if line.startswith("error: ")]
    if not told:
        return "training ended without a reason: ask the operator to look at its log"
    return " ".join(word if "/" not in word else "..." for word in told[-1].split())[:300]
