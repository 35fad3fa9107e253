"""Training on this machine: one run at a time, each `python -m unictokens train` in a process of its own."""

import logging
import queue
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

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
"""Seconds a process gets to end itself before it is killed."""


@dataclass(frozen=True)
class _Task:
    folder: RunFolder
    store: Path
    name: str


class LocalTrainer:
    """Runs wait in a queue of at most `waiting`; unfinished ones below `root` are taken up again at the start.

    options    of `python -m unictokens train`: --config, --set, --backbone
    negatives  folder of random pictures without anybody's concept; without one a concept learns to say yes to any picture
    """

    def __init__(
        self,
        root: Path,
        options: tuple[str, ...] = (),
        negatives: Path | None = None,
        waiting: int = 32,
        clock: Clock = time.time,
    ) -> None:
        self._options = options
        self._negatives = negatives
        self._clock = clock
        self._waiting: queue.Queue[_Task | None] = queue.Queue(waiting)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._current: RunFolder | None = None
        self._closing = False
        self._idle = threading.Condition(self._lock)
        self._take_up(root)
        self._thread = threading.Thread(target=self._work, name="trainer", daemon=True)
        self._thread.start()

    def start(self, folder: RunFolder, store: Path, name: str) -> None:
        """Queue a run. Raises Refusal (503) when the queue is full."""
        try:
            self._waiting.put_nowait(_Task(folder, store, name))
        except queue.Full as error:
            raise Refusal(503, "trainer_busy", "too many runs are waiting: try again later", retry_after=60) from error

    def cancel(self, folder: RunFolder) -> None:
        """End a run, waiting or running; returns when nothing of it runs any more."""
        with self._idle:
            state = folder.read()
            if state is not None and not state.over:
                folder.change(status="cancelled", ended=self._clock())
            if self._current == folder:
                self._stop()
                self._idle.wait_for(lambda: self._current != folder, PATIENCE * 2)

    def close(self) -> None:
        """End the process at work; its run is taken up again by the next trainer."""
        with self._lock:
            self._closing = True
            self._stop()
        self._waiting.put(None)
        self._thread.join(PATIENCE * 2)

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _take_up(self, root: Path) -> None:
        for runs in root.glob("*/*/runs"):
            for folder in run_folders(runs.parent):
                state = folder.read()
                if state is not None and not state.over:
                    self._waiting.put_nowait(_Task(folder, runs.parent / "store", state.concept))

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            with self._lock:
                state = task.folder.read()
                if self._closing or state is None or state.over:
                    continue
                self._current = task.folder
                task.folder.change(status="running", started=state.started or self._clock())
            try:
                self._train(task)
            except UniCTokensError as error:
                self._end(task.folder, status="failed", error=str(error))
            finally:
                with self._idle:
                    self._current = self._process = None
                    self._idle.notify_all()

    def _train(self, task: _Task) -> None:
        folder, name = task.folder, task.name
        if self._negatives is not None and not (folder.data / "random_images").exists():
            shutil.copytree(self._negatives, folder.data / "random_images")
        write_stage_files(Catalog.open(folder.data), name)
        output = folder.output
        command = [sys.executable, "-m", "unictokens", "train", "--resume", "--concept", name]
        command += ["--data", str(folder.data), "--out", str(output), *self._options, *UNCROPPED]
        with (folder.path / LOG_FILE).open("ab") as told:
            with self._lock:
                if self._closing or self._over(folder):
                    return
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.STDOUT, start_new_session=True
                )
            code = self._wait(self._process)
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

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        stopped: float | None = None
        while True:
            try:
                return process.wait(0.2)
            except subprocess.TimeoutExpired:
                if self._current is not None and (self._closing or self._over(self._current)):
                    stopped = stopped or time.monotonic()
                    if time.monotonic() - stopped > PATIENCE:
                        process.kill()

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
    lines = path.read_text(errors="replace").splitlines()
    told = [line.partition("error: ")[2] for line in lines if line.startswith("error: ")]
    if not told:
        return "training ended without a reason: ask the operator to look at its log"
    return " ".join(word if "/" not in word else "..." for word in told[-1].split())[:300]
