"""The folder of a job on the output path: all that a driver needs to continue where another one was killed.

<out>/jobs/<job>/job.json              what was asked: where the data are, engine, lanes, tracking
<out>/jobs/<job>/plan.json             the runs (`cluster.plan_file`)
<out>/jobs/<job>/queue-000003.jsonl    how they go (`cluster.journal`, written by `cluster.keeper`)
<out>/jobs/<job>/driver-000001.lease   who drives (`cluster.lease`)
<out>/jobs/<job>/lanes.json            lanes as their driver last saw them
<out>/jobs/<job>/shared                a word that every lane must be able to read
<out>/jobs/<job>/stop                  asks the driver to end the job after the epochs under way
<out>/jobs/<job>/summary.json          how it ended
"""

import json
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.journal import Record, read_journal
from cluster.lease import Owner, holder
from cluster.plan import JobPlan
from cluster.plan_file import read_plan, write_plan
from unictokens.atomic import storage_error, write_bytes, write_json
from unictokens.concepts.names import check_name
from unictokens.errors import ConfigError, StorageError

QUEUE = "queue"
DRIVER = "driver"


@dataclass(frozen=True)
class JobFolder:
    """The folder of the job `name` below the output folder `output`."""

    output: Path
    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.output / "jobs" / check_name(self.name, "job")

    @property
    def begun(self) -> bool:
        """Whether a job of this name was ever started here."""
        return (self.path / "plan.json").is_file()

    def write_asked(self, values: dict[str, Any]) -> None:
        """Keep what was asked. Raises StorageError."""
        write_json(self.path / "job.json", values)

    def asked(self) -> dict[str, Any]:
        """What was asked. Raises ConfigError for a job that is not here, StorageError for a damaged file."""
        if not self.begun:
            known = ", ".join(list_jobs(self.output)[:10]) or "none"
            raise ConfigError(f"no job '{self.name}' in '{self.output}' (there: {known}): check the name and --out")
        return self._read("job.json")

    def write_plan(self, plan: JobPlan) -> None:
        """Keep the plan. Raises StorageError."""
        write_plan(self.path / "plan.json", plan)

    def plan(self) -> JobPlan:
        """The plan. Raises StorageError."""
        return read_plan(self.path / "plan.json")

    def records(self) -> list[Record]:
        """How the runs go, as the queue's journal tells. Raises StorageError."""
        return list(read_journal(self.path, QUEUE))

    def driver(self) -> Owner | None:
        """Who drives the job as far as one can see from here; None for nobody."""
        return holder(self.path, DRIVER)

    def write_lanes(self, values: dict[str, Any]) -> None:
        """Keep what the driver knows of its lanes. Raises StorageError."""
        write_json(self.path / "lanes.json", values)

    def share_word(self) -> str:
        """Write a new word for lanes to find. Raises StorageError."""
        word = secrets.token_hex(8)
        write_bytes(self.path / "shared", word.encode())
        return word

    def check_shared(self, word: str) -> None:
        """Raises StorageError when this host sees another folder than the driver, who wrote `word` there."""
        try:
            found = (self.path / "shared").read_text()
        except OSError:
            found = ""
        if found != word:
            raise StorageError(
                f"output folder '{self.output}' is not the same on '{socket.gethostname()}' as where the job was started: "
                "use a folder that all nodes share"
            )

    def ask_stop(self) -> None:
        """Ask the driver to end the job after the epochs under way. Raises StorageError."""
        write_bytes(self.path / "stop", b"")

    def stop_asked(self) -> bool:
        """Whether somebody did."""
        return (self.path / "stop").exists()

    def forget_stop(self) -> None:
        """A new driver starts: what was asked of the last one is over. Raises StorageError."""
        try:
            (self.path / "stop").unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.path / "stop", "remove") from error

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            values = json.loads(path.read_bytes())
        except OSError as error:
            raise storage_error(error, path, "read") from error
        except ValueError as error:
            raise StorageError(f"'{path}' is damaged ({error}): start the job again with its full command") from error
        if not isinstance(values, dict):
            raise StorageError(f"'{path}' is no JSON object: start the job again with its full command")
        return values


def list_jobs(output: Path) -> list[str]:
    """Names of the jobs that were started into `output`, newest first."""
    jobs = output / "jobs"
    found = (
        [(path.parent.stat().st_mtime, path.parent.name) for path in jobs.glob("*/plan.json")] if jobs.is_dir() else []
    )
    return [name for _, name in sorted(found, reverse=True)]
