"""The job server of a cluster: jobs are sent, found, followed and stopped over its HTTP address.

The only file that imports Ray's job submission. `JobServer` is what the commands see; it refuses in seconds, in one line, and
never twice starts what it was given twice.
"""

import argparse
import asyncio
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from cluster.package import MOST_BYTES
from unictokens.atomic import storage_error
from unictokens.errors import ClusterError, ConfigError, DependencyError
from unictokens.memory import in_words

ANSWER_SECONDS = 8.0
POLL_SECONDS = 0.5
START_SECONDS = 120.0
STARTING = "No available agent"
"""What a cluster says that answers already, but is not ready to start drivers."""
OVER = ("SUCCEEDED", "FAILED", "STOPPED")
JOB = "unictokens_job"
"""Metadata key of the stable name that all attempts of a job share."""
DEFAULT_TOKEN = Path("~/.ray/auth_token")
"""Where Ray itself keeps a token (`ray get-auth-token --generate`)."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One submission of a job. `exit_code` is the driver's, once it ended by itself; times are seconds since 1970."""

    id: str
    status: str
    message: str = ""
    exit_code: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None

    @property
    def job(self) -> str:
        """The stable name that this is an attempt of."""
        return self.metadata.get(JOB, "")

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in OVER


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is sent: a shell command, run in a folder that holds the files of `package` (a zip)."""

    id: str
    command: str
    package: bytes
    metadata: Mapping[str, str]


class JobServer(Protocol):
    """What the commands need of a cluster."""

    @property
    def address(self) -> str:
        """Where it answers."""
        ...

    def submit(self, submission: Submission) -> bool:
        """Start it; False where its id is known already. Raises ClusterError."""
        ...

    def attempts(self, job: str = "") -> list[Attempt]:
        """All attempts of a job, or of all our jobs, the oldest first."""
        ...

    def attempt(self, identity: str) -> Attempt:
        """How one stands now. Raises ClusterError for an unknown one."""
        ...

    def log(self, identity: str) -> str:
        """What its driver has written so far."""
        ...

    def follow(self, identity: str) -> Iterator[str]:
        """What its driver writes, from the beginning, in pieces as they come; ends with the driver."""
        ...

    def stop(self, identity: str) -> None:
        """End its driver: SIGTERM, and SIGKILL three seconds later."""
        ...

    def forget(self, identity: str) -> None:
        """Remove an attempt that is over from the server's list."""
        ...


def add_address(parser: argparse.ArgumentParser, does: str) -> None:
    """--address and --token-file: read by `connect`."""
    parser.add_argument("--address", metavar="URL", help=f"{does} (a Ray dashboard, http://HOST:8265)")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="the cluster's token (RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH by default)",
    )


def connect(address: str, token_file: Path | None = None) -> "RayJobs":
    """The job server at `address`.

    Raises ConfigError for something that is no address, ClusterError when nobody answers or the token is not the right one,
    DependencyError without Ray.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--address '{address}' is no dashboard's address: write it like http://HOST:8265")
    address = address.rstrip("/")
    token = read_token(token_file)
    _greet(address, token)
    return RayJobs(address, token)


def read_token(file: Path | None) -> str:
    """The token that a cluster asks for, "" where none is known. Raises StorageError, ConfigError for an unusable file."""
    if file is None and os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"].strip()
    given = file or (Path(os.environ["RAY_AUTH_TOKEN_PATH"]) if os.environ.get("RAY_AUTH_TOKEN_PATH") else None)
    path = given or DEFAULT_TOKEN.expanduser()
    if given is None and not path.exists():
        return ""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise storage_error(error, path, "read the token in") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' holds no token: it is no text") from error
    if not re.fullmatch(r"[!-~]+", token):
        raise ConfigError(f"'{path}' holds no token: one line of letters and digits is expected")
    return token


def _greet(address: str, token: str) -> None:
    """Find out in seconds whether a Ray dashboard answers there and lets us in; Ray's own client waits for ever."""
    request = Request(f"{address}/api/version", headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urlopen(request, timeout=ANSWER_SECONDS) as answer:
            known = json.loads(answer.read())
    except HTTPError as error:
        raise ClusterError(_refusal(address, error.code)) from error
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ClusterError(
            f"no answer from '{address}' ({reason}): is this the cluster's dashboard, and can it be reached from here?"
        ) from error
    except ValueError as error:
        raise ClusterError(f"'{address}' answers, but is no Ray dashboard: the usual port is 8265") from error
    if not isinstance(known, dict) or "ray_version" not in known:
        raise ClusterError(f"'{address}' answers, but is no Ray dashboard: the usual port is 8265")


def _refusal(address: str, code: int) -> str:
    if code == 401:
        return (
            f"'{address}' asks for a token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or add --token-file FILE "
            "(on the cluster: ray get-auth-token)"
        )
    if code == 403:
        return f"'{address}' refuses this token: take the cluster's own (there: ray get-auth-token)"
    return f"'{address}' answers with HTTP {code}, no Ray dashboard does: the usual port is 8265"


class RayJobs:
    """`JobServer` of a Ray cluster."""

    def __init__(self, address: str, token: str = "") -> None:
        """Raises DependencyError without Ray, ClusterError when the address does not answer."""
        try:
            from ray.job_submission import JobSubmissionClient
        except ModuleNotFoundError as error:
            raise DependencyError("--address needs Ray: pip install 'unictokens[cluster]'") from error
        self.address = address
        # It tells every upload and every closed connection at this level.
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # Ray's client prefers what the environment says to the address it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self._client: Any = self._asked(lambda: JobSubmissionClient(address, headers=headers))

    def submit(self, submission: Submission) -> bool:
        if len(submission.package) > MOST_BYTES:
            raise ClusterError(
                f"the project is {in_words(len(submission.package))}, a cluster takes {in_words(MOST_BYTES)}: move large "
                "files out of its packages"
            )
        if self._known(submission.id):
            return False
        with tempfile.TemporaryDirectory(prefix="unictokens-") as folder:
            package = Path(folder) / "package.zip"
            try:
                package.write_bytes(submission.package)
            except OSError as error:
                raise storage_error(error, package) from error
            end = time.monotonic() + START_SECONDS
            while True:
                try:
                    self._client.submit_job(
                        entrypoint=submission.command,
                        submission_id=submission.id,
                        runtime_env={"working_dir": str(package)},
                        metadata=dict(submission.metadata),
                    )
                except (RuntimeError, ValueError, OSError) as error:
                    # Somebody else sent the same meanwhile: Ray says so with a 500 and a traceback.
                    if self._known(submission.id):
                        return False
                    if STARTING not in str(error) or time.monotonic() > end:
                        raise self._failed(error) from error
                    time.sleep(POLL_SECONDS)
                else:
                    return True

    def attempts(self, job: str = "") -> list[Attempt]:
        found = [_attempt(details) for details in self._asked(self._client.list_jobs) if details.submission_id]
        ours = [each for each in found if each.job and job in ("", each.job)]
        return sorted(ours, key=lambda each: (each.started or 0.0, each.id))

    def attempt(self, identity: str) -> Attempt:
        return _attempt(self._asked(lambda: self._client.get_job_info(identity)))

    def log(self, identity: str) -> str:
        return str(self._asked(lambda: self._client.get_job_logs(identity)))

    def follow(self, identity: str) -> Iterator[str]:
        # Before its driver starts an attempt has no log, and Ray answers with an error.
        while self.attempt(identity).status == "PENDING":
            time.sleep(POLL_SECONDS)
        loop = asyncio.new_event_loop()
        pieces = self._client.tail_job_logs(identity)
        try:
            while True:
                try:
                    yield self._asked(lambda: loop.run_until_complete(anext(pieces)))
                except StopAsyncIteration:
                    break
        finally:
            loop.run_until_complete(pieces.aclose())
            loop.close()
        # The log ends a moment before the server knows how the driver ended.
        while not self.attempt(identity).over:
            time.sleep(POLL_SECONDS)

    def stop(self, identity: str) -> None:
        self._asked(lambda: self._client.stop_job(identity))

    def forget(self, identity: str) -> None:
        self._asked(lambda: self._client.delete_job(identity))

    def _known(self, identity: str) -> bool:
        jobs: Sequence[Any] = self._asked(self._client.list_jobs)
        return any(details.submission_id == identity for details in jobs)

    def _asked(self, question: Callable[[], Result]) -> Result:
        try:
            return question()
        except (RuntimeError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ClusterError:
        # Ray puts the server's whole traceback into its message; the last line is the reason.
        lines = [line.strip() for line in str(error).replace("\\n", "\n").splitlines() if line.strip()]
        reason = lines[-1][:300] if lines else type(error).__name__
        return ClusterError(f"'{self.address}' did not do what it was asked ({reason})")


def _attempt(details: Any) -> Attempt:
    """From Ray's record, whose times are milliseconds."""
    return Attempt(
        id=details.submission_id or details.job_id,
        status=str(getattr(details.status, "value", details.status)),
        message=details.message or "",
        exit_code=details.driver_exit_code,
        metadata=details.metadata or {},
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
    )
