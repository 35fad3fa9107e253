"""The folder of a job on the output path, a folder or a bucket: all that a driver needs to continue where another one was killed.

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
from functools import cached_property
from pathlib import Path
from typing import Any

from cluster.journal import Record, read_journal
from cluster.lease import Owner, holder
from cluster.plan import JobPlan
from cluster.plan_file import decode_plan, encode_plan
from unictokens.atomic import json_bytes
from unictokens.concepts.names import check_name
from unictokens.errors import ConfigError, StorageError
from unictokens.storage.base import Place, Storage, join, open_storage

QUEUE = "queue"
DRIVER = "driver"
JOBS = "jobs"
PLAN = "plan.json"


@dataclass(frozen=True)
class JobFolder:
    """The folder of the job `name` below the output place `output`."""

    output: Place
    name: str

    @property
    def place(self) -> Place:
        """Where it is."""
        return join(self.output, JOBS, check_name(self.name, "job"))

    @cached_property
    def storage(self) -> Storage:
        """Its files."""
        return open_storage(self.place)

    @property
    def patience(self) -> float | None:
        """For how many seconds `patiently` should ask again: a bucket may be away for a moment, a disk is not asked twice."""
        return 0.0 if isinstance(self.output, Path) else None

    @property
    def begun(self) -> bool:
        """Whether a job of this name was ever started here. Raises StorageError."""
        return self.planned is not None

    @property
    def planned(self) -> float | None:
        """When the plan was written, in seconds since 1970; None without one. Raises StorageError."""
        return self.storage.modified(PLAN)

    def write_asked(self, values: dict[str, Any]) -> None:
        """Keep what was asked. Raises StorageError."""
        self.storage.write("job.json", json_bytes(values))

    def asked(self) -> dict[str, Any]:
        """What was asked. Raises ConfigError for a job that is not here, StorageError for a damaged file."""
        if not self.begun:
            known = ", ".join(list_jobs(self.output)[:10]) or "none"
            raise ConfigError(f"no job '{self.name}' in '{self.output}' (there: {known}): check the name and --out")
        values = self._read("job.json")
        if values is None:
            raise StorageError(
                f"'{join(self.place, 'job.json')}' is missing: start the job again with its full command"
            )
        return values

    def write_plan(self, plan: JobPlan) -> None:
        """Keep the plan. Raises StorageError."""
        self.storage.write(PLAN, encode_plan(plan))

    def plan(self) -> JobPlan:
        """The plan. Raises StorageError."""
        data = self.storage.read(PLAN)
        if data is None:
            raise StorageError(f"'{join(self.place, PLAN)}' is missing: start the job again with its full command")
        return decode_plan(data, join(self.place, PLAN))

    def records(self) -> list[Record]:
        """How the runs go, as the queue's journal tells. Raises StorageError."""
        return list(read_journal(self.place, QUEUE))

    def driver(self) -> Owner | None:
        """Who drives the job as far as one can see from here; None for nobody."""
        return holder(self.place, DRIVER)

    def write_lanes(self, values: dict[str, Any]) -> None:
        """Keep what the driver knows of its lanes. Raises StorageError."""
        self.storage.write("lanes.json", json_bytes(values))

    def lanes(self) -> dict[str, Any] | None:
        """What a driver knew of its lanes, None when none has said so yet. Raises StorageError."""
        return self._read("lanes.json")

    def share_word(self) -> str:
        """Write a new word for lanes to find. Raises StorageError."""
        word = secrets.token_hex(8)
        self.storage.write("shared", word.encode())
        return word

    def check_shared(self, word: str) -> None:
        """Raises StorageError when this host sees another folder than the driver, who wrote `word` there."""
        if self.storage.read("shared") != word.encode():
            local = isinstance(self.output, Path)
            fix = "use a folder that all nodes share" if local else "give all nodes the same endpoint and profile"
            raise StorageError(
                f"output folder '{self.output}' is not the same on '{socket.gethostname()}' as where the job was started: "
                f"{fix}"
            )

    def ask_stop(self) -> None:
        """Ask the driver to end the job after the epochs under way. Raises StorageError."""
        self.storage.write("stop", b"")

    def stop_asked(self) -> bool:
        """Whether somebody did. Raises StorageError."""
        return self.storage.read("stop") is not None

    def forget_stop(self) -> None:
        """A new driver starts: what was asked of the last one is over. Raises StorageError."""
        self.storage.remove("stop")

    def _read(self, name: str) -> dict[str, Any] | None:
        path, data = join(self.place, name), self.storage.read(name)
        if data is None:
            return None
        try:
            values = json.loads(data)
        except ValueError as error:
            raise StorageError(f"'{path}' is damaged ({error}): start the job again with its full command") from error
        if not isinstance(values, dict):
            raise StorageError(f"'{path}' is no JSON object: start the job again with its full command")
        return values


def list_jobs(output: Place) -> list[str]:
    """Names of the jobs that were started into `output`, newest first. Raises StorageError."""
    found = [name.split("/") for name in open_storage(output).list(JOBS)]
    jobs = [JobFolder(output, parts[1]) for parts in found if len(parts) == 3 and parts[2] == PLAN]
    return [name for _, name in sorted(((job.planned or 0.0, job.name) for job in jobs), reverse=True)]
