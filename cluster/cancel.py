"""`python -m cluster cancel`: end a job in peace: concepts under way end after their epoch, which is saved."""

import argparse
import os
import signal
import time

from cluster.folder import JobFolder
from cluster.lease import Owner
from cluster.remote import ask
from cluster.which import add_job, here, there, words_for
from unictokens.cli.shell import OK
from unictokens.errors import ConfigError

LOOK_SECONDS = 0.5


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `cancel`."""
    add_job(parser)
    parser.add_argument("--wait", action="store_true", help="come back when the job has ended")
    parser.add_argument(
        "--now", action="store_true", help="do not wait for epochs: end the driver; what is saved stays"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask for it. A job that nobody drives is no error: it is what was wanted."""
    if arguments.address is not None:
        return _on_cluster(arguments)
    folder = here(arguments)
    driver = folder.driver()
    if driver is None:
        print(f"{folder.name} is not running")
        return OK
    if arguments.now:
        end(folder, driver)
    else:
        folder.ask_stop()
        print(
            f"{folder.name}: concepts end after their epoch (continue with: python -m cluster train --resume {folder.name})"
        )
    while arguments.wait and folder.driver() == driver:
        time.sleep(LOOK_SECONDS)
    return OK


def end(folder: JobFolder, driver: Owner) -> None:
    """End a driver of this machine at once: the second signal is the one it does not wait after.

    Raises ConfigError for one elsewhere.
    """
    if driver.host != Owner.here(folder.name).host:
        raise ConfigError(f"{folder.name} is driven by {driver}: cancel it there, or without --now")
    for _ in range(2):
        try:
            os.kill(driver.process, signal.SIGTERM)
        except ProcessLookupError:
            break
        time.sleep(LOOK_SECONDS)
    print(f"{folder.name}: its driver was ended")


def _on_cluster(arguments: argparse.Namespace) -> int:
    server, attempt = there(arguments)
    if attempt.over:
        print(f"{attempt.id} is not running")
        return OK
    if attempt.status == "PENDING" or arguments.now:
        server.stop(attempt.id)
        print(f"{attempt.id}: its driver was ended")
        return OK
    code = ask(server, words_for("cancel", attempt), print)
    while arguments.wait and not server.attempt(attempt.id).over:
        time.sleep(LOOK_SECONDS)
    return code
