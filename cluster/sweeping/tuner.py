"""Ray Tune: it asks the desk for trials, compares them while they train and ends the poor ones. The only file that imports ray.tune.

A Tune trial is a small process that only passes on what the driver posts on the board; training is the lanes' business. It takes no
processor of Ray's: lanes may have them all.
"""

import logging
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.sweeping.desk import Desk

log = logging.getLogger(__name__)

SCHEDULERS = ("asha", "pbt", "none")
READ_SECONDS = 0.2
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a file per trial that nobody reads
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails before its first epoch has no metric
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # its state is a pickle that we never restore from
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the job's driver has one
    "RAY_AIR_NEW_OUTPUT": "0",
}
SMALLEST: dict[str, float] = {"CPU": 0, "memory": 1}
"""What a trial's process asks of Ray: a byte. Tune refuses a request for nothing, and processors belong to the lanes."""
UNLIMITED = 10**6


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When trials end early. Epochs are counted over all stages.

    scheduler  "asha": at `grace` epochs, `grace * reduction`, ... only the best of `reduction` goes on; "pbt": at the end of a stage a
               poor trial is given up for a child of a good one; "none"
    total      epochs of a whole trial
    """

    scheduler: str
    grace: int
    reduction: int
    total: int


def tune_trials(ray: Any, desk: "Desk", board: Any, rule: Rule, storage: Path) -> None:
    """Drive all trials; returns when none is left. `board` is a Ray actor of `Board`; `storage` is for Tune's own files, removed again."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
    from ray.tune.search import Searcher

    class Proposals(Searcher):
        """Tune's way to ask the desk for trials, and to say that it is done with one."""

        def __init__(self) -> None:
            super().__init__()
            self._numbers: dict[str, int] = {}

        def suggest(self, trial_id: str) -> Any:
            number = desk.propose()
            if number is None:
                return None
            if not isinstance(number, int):
                return Searcher.FINISHED
            self._numbers[trial_id] = number
            return {"number": number}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            desk.ended(self._numbers[trial_id])

        def save(self, checkpoint_path: str) -> None:
            return None

        def restore(self, checkpoint_path: str) -> None:
            return None

        def __deepcopy__(self, memory: Any) -> "Proposals":
            return self

        def __reduce__(self) -> Any:
            return (object, ())

    class GiveUp(FIFOScheduler):
        """Ends a trial where the desk's population gives it up."""

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            if not result.get("done") and desk.poor(trial.config["number"], result["epochs"]):
                return TrialScheduler.STOP
            return TrialScheduler.CONTINUE

        def __reduce__(self) -> Any:
            return (FIFOScheduler, ())

    if rule.scheduler == "asha":
        # A trial's last report is one epoch below max_t, so that never the scheduler ends a whole one.
        scheduler: Any = AsyncHyperBandScheduler(
            time_attr="epochs",
            metric="watched",
            mode="min",
            max_t=rule.total + 1,
            grace_period=min(rule.grace, rule.total),
            reduction_factor=rule.reduction,
        )
    else:
        scheduler = GiveUp() if rule.scheduler == "pbt" else FIFOScheduler()
    name = f"sweep-{uuid.uuid4().hex[:8]}"
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    try:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(_trainable(tune.Trainable), board=board), SMALLEST),
            tune_config=tune.TuneConfig(
                search_alg=Proposals(), scheduler=scheduler, num_samples=UNLIMITED, reuse_actors=True
            ),
            run_config=tune.RunConfig(name=name, storage_path=str(storage.absolute()), verbose=0),
        ).fit()
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)


def _trainable(base: Any) -> Any:
    """The class of Tune's trials. Made here, and sent whole, so that its processes load nothing of ours but this file's text."""

    class Relay(base):
        """Passes a trial's reports on, one a step."""

        def setup(self, config: dict[str, Any], board: Any = None) -> None:
            self._board = board
            self._begin(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._begin(new_config)
            return True

        def step(self) -> dict[str, Any]:
            import ray

            while True:
                report = ray.get(self._board.read.remote(self._number, self._at))
                if report is not None:
                    self._at += 1
                    return dict(report)
                time.sleep(READ_SECONDS)

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            return None

        def load_checkpoint(self, checkpoint: Any) -> None:
            return None

        def _begin(self, config: dict[str, Any]) -> None:
            self._number = int(config["number"])
            self._at = 0

    return Relay
