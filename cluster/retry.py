"""`python -m cluster retry`: concepts that were set aside get another chance, and the job goes on."""

import argparse

from cluster.folder import QUEUE, JobFolder
from cluster.job import driving
from cluster.journal import Journal
from cluster.plan_file import encode_runs
from cluster.remote import begin
from cluster.snapshot import restored
from cluster.train import resume
from cluster.which import add_job, here, there, words_for
from unictokens.cli.progress import make_console
from unictokens.cli.shell import FAILED, INTERRUPTED, OK
from unictokens.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `retry`."""
    add_job(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reopen what failed and continue the job, here or as its next attempt on a cluster; exit codes as `train`."""
    if arguments.address is not None:
        return _on_cluster(arguments)
    folder = here(arguments)
    with driving(folder):
        reopened = reopen(folder)
    print(f"{folder.name}: {', '.join(reopened[:8])}{' and more' if len(reopened) > 8 else ''} again")
    summary = resume(make_console(), folder.output, folder.name)
    return FAILED if summary.failed else INTERRUPTED if summary.unfinished else OK


def reopen(folder: JobFolder) -> list[str]:
    """Let what failed wait again; returns the concepts. Only the holder of the driver's lease may call this.

    Raises ConfigError when nothing failed, StorageError.
    """
    queue, added = restored(folder.plan(), folder.records())
    failed = [status.concept for status in queue.statuses() if status.state == "failed"]
    if not failed:
        raise ConfigError(
            f"nothing of '{folder.name}' has failed: python -m cluster train --resume {folder.name} continues it"
        )
    queue.reopen(failed=True)
    journal = Journal(folder.place, QUEUE)
    journal.begin([*([{"add": encode_runs(added)}] if added else []), *queue.snapshot()])
    journal.close()
    return failed


def _on_cluster(arguments: argparse.Namespace) -> int:
    server, attempt = there(arguments)
    if not attempt.over:
        raise ConfigError(f"'{attempt.id}' is still running: wait for it, or cancel it first")
    begin(server, attempt.job, words_for("retry", attempt), {}, attempt.metadata, may_resume=False)
    return OK
