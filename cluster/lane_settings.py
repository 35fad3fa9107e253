"""What a lane of a job works with."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cluster.engines import EngineSettings
from unictokens.learn import RunPlan
from unictokens.output import Output
from unictokens.storage.base import Place, join
from unictokens.tracking.tracked import Tracked
from unictokens.training.engine import Engine


class Afterwards(Protocol):
    """Something that is done with a published run where its backbone is loaded, such as an examination."""

    def __call__(self, engine: Engine, plan: RunPlan) -> None:
        """May be called twice. Raises what the run is to fail with."""
        ...


@dataclass(frozen=True, kw_only=True)
class LaneSettings:
    """What a lane works with.

    name      its own, never that of another lane
    job       the job it works for; `word` is what it must find in the job's folder
    width     runs that share its forward and backward passes
    cpus      CPU cores of each of its processes, also the number of computing threads
    gpus      GPUs of each of its processes, 0 or 1
    stall     seconds of standing still after which it ends itself
    tracking  where the job's entry is, for those nested in it; its root is this machine's (see `here`)
    registered  whether what is published gets into the tracking server's registry of models
    afterwards  what it does for a run when it is published, before it says so
    """

    name: str
    job: str
    word: str
    data: Path
    engine: EngineSettings
    output: Place
    width: int
    cpus: int
    gpus: int
    stall: float
    tracking: Tracked
    registered: bool = True
    afterwards: Afterwards | None = None

    @property
    def log_place(self) -> Place:
        """Where others find the worker's log."""
        return join(self.output, "logs", f"{self.name}.log")

    @property
    def log_file(self) -> Path:
        """Where the worker's log goes on its machine."""
        return Output(self.output).local / "logs" / f"{self.name}.log"

    def here(self) -> "LaneSettings":
        """The same for a process of the lane: what lies beside a bucket lies in a folder of each process."""
        return replace(self, tracking=replace(self.tracking, root=Output(self.output).local))
