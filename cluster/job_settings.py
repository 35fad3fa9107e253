"""Where and on what a job runs; kept in its folder, so that whoever continues it need not be told."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.engines import EngineSettings
from cluster.folder import JobFolder
from cluster.lane_settings import Afterwards
from unictokens.errors import ConfigError, StorageError
from unictokens.storage.base import Place, join
from unictokens.tracking.base import Ancestor

WIDTH = 8
"""Runs that a lane trains together unless told otherwise."""
STALL_SECONDS = 900.0
"""Longer than anything that a lane does in one piece: loading 6 GB from a slow disk, drawing all previews of a wide pack."""
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Where and on what a job runs.

    lanes      exactly so many; 0 means as many as there is room for, at least `min_lanes` and at most `max_lanes` (0: one per
               GPU or, without, one per core and at most four)
    width      runs that a lane trains together, at most
    stall      seconds after which a lane that stands still is ended
    timeout    seconds for which a job goes on with fewer than `min_lanes`
    above      the tracked entries that the job's own is nested in
    track_later  begin even where the tracking server does not answer
    registered  whether what is published gets into the tracking server's registry of models
    afterwards  what lanes do for a run when it is published, before they say so
    """

    data: Path
    output: Place
    engine: EngineSettings
    lanes: int = 0
    min_lanes: int = 1
    max_lanes: int = 0
    width: int = WIDTH
    stall: float = STALL_SECONDS
    timeout: float = TIMEOUT_SECONDS
    tracking_uri: str | None = None
    track_later: bool = False
    above: tuple[Ancestor, ...] = ()
    registered: bool = True
    afterwards: Afterwards | None = None

    def check(self) -> None:
        """Raises ConfigError for numbers that contradict each other."""
        if min(self.lanes, self.max_lanes) < 0:
            raise ConfigError(
                f"--lanes {min(self.lanes, self.max_lanes)} is negative: use 0 for one per GPU, or a number"
            )
        if self.min_lanes < 1:
            raise ConfigError(f"--min-lanes {self.min_lanes} is below one: a job needs a lane")
        if self.max_lanes and self.max_lanes < self.min_lanes:
            raise ConfigError(
                f"--max-lanes {self.max_lanes} is below --min-lanes {self.min_lanes}: raise or leave it out"
            )
        if self.stall <= 0 or self.timeout <= 0:
            raise ConfigError("--stall and --timeout are seconds, above 0")

    @property
    def least(self) -> int:
        """Lanes without which the job does not go on."""
        return self.lanes or self.min_lanes


def asked_of(settings: JobSettings) -> dict[str, Any]:
    """What `settings_of` makes the settings from again, as JSON values."""
    values = {
        key: value for key, value in vars(settings).items() if key not in ("output", "engine", "above", "afterwards")
    }
    return {
        **values,
        "data": str(settings.data),
        "engine": {
            key: str(value) if isinstance(value, Path) else value for key, value in vars(settings.engine).items()
        },
        "above": [asdict(ancestor) for ancestor in settings.above],
    }


def settings_of(folder: JobFolder) -> JobSettings:
    """What was asked of a job. Raises ConfigError for one that is not there, StorageError for a damaged file."""
    asked = folder.asked()
    try:
        engine = dict(asked["engine"])
        engine["folder"] = None if engine["folder"] is None else Path(engine["folder"])
        return JobSettings(
            **{
                **asked,
                "data": Path(asked["data"]),
                "output": folder.output,
                "engine": EngineSettings(**engine),
                "above": tuple(Ancestor(**ancestor) for ancestor in asked["above"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise StorageError(
            f"'{join(folder.place, 'job.json')}' is damaged ({error}): start the job again with its full command"
        ) from error
