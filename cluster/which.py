"""Which job is meant: by its name, by the name it was sent to a cluster under, or the last one."""

import argparse
import json
import os
from pathlib import Path

from cluster.folder import JobFolder, list_jobs
from cluster.remote import OUTPUT, find
from cluster.submit import JOB, Attempt, JobServer, add_address, connect
from unictokens.cli.options import OUT
from unictokens.errors import ConfigError
from unictokens.storage.base import absolute, parse_place

SENT_AS = "sent-as"
"""File in a job's folder: the name it was sent under."""
RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray's variable that tells a driver which submission it is."""


def add_job(parser: argparse.ArgumentParser) -> None:
    """JOB, --out, --address: read by `here` or `there`."""
    parser.add_argument("job", nargs="?", default="", metavar="JOB", help="name of a job (the one started last)")
    parser.add_argument("--out", type=parse_place, default=OUT, help="output folder of the job, or a URL (out)")
    add_address(parser, "for a job that was sent to a cluster")


def here(arguments: argparse.Namespace) -> JobFolder:
    """The folder of the job on this machine's view of the output place. Raises ConfigError for one that is not there."""
    output = absolute(arguments.out)
    known = list_jobs(output)
    if not known:
        swept = isinstance(output, Path) and (output / "sweeps").is_dir()
        raise ConfigError(
            f"no job was ever started into '{output}': check --out"
            + (f", or name a sweep's own folder: {output}/sweeps/NAME" if swept else "")
        )
    for name in known:
        if arguments.job in ("", name, sent_as(JobFolder(output, name))):
            return JobFolder(output, name)
    raise ConfigError(f"'{output}' has no job '{arguments.job[:80]}': it has {', '.join(known[:5])}")


def there(arguments: argparse.Namespace) -> tuple[JobServer, Attempt]:
    """The cluster and the newest attempt of the job. Raises ClusterError, and ConfigError for one that is not there."""
    server = connect(arguments.address, arguments.token_file)
    return server, find(server, arguments.job)


def words_for(command: str, attempt: Attempt, *more: str) -> list[str]:
    """The arguments with which the cluster's head answers for a job."""
    return [command, attempt.job, "--out", attempt.metadata.get(OUTPUT, str(OUT)), *more]


def sent_as(folder: JobFolder) -> str:
    """The name that a job was sent under, "" for one that was started in place. Raises StorageError."""
    return (folder.storage.read(SENT_AS) or b"").decode(errors="replace").strip()


def note_sent_as(folder: JobFolder) -> None:
    """In the driver of a job that was sent: keep under which name. Elsewhere nothing happens. Raises StorageError."""
    told = os.environ.get(RAY_JOB, "")
    name = json.loads(told).get("metadata", {}).get(JOB, "") if told else ""
    if name:
        folder.storage.write(SENT_AS, f"{name}\n".encode())
