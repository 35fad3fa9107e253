"""Tracking in MLflow: one parent run per job, one nested run per concept; the only file that imports mlflow.

A tracker hands everything to one thread over a bounded queue, so that training never waits for a database or a server.
What cannot be sent is counted and logged, never raised: the files of `jsonl` hold it all anyway. Only opening a job raises,
because a wrong address should be said before hours of training.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from PIL import Image

from unictokens.errors import DependencyError, StorageError
from unictokens.tracking.base import Status

log = logging.getLogger(__name__)

Result = TypeVar("Result")

EXPERIMENT = "unictokens"
RUN_TAG = "unictokens.run"
PARENT_TAG = "mlflow.parentRunId"
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
QUEUE_LENGTH = 10_000
METRICS_PER_BATCH = 1_000
PARAMS_PER_BATCH = 100
PARAM_LENGTH = 500
CLOSE_SECONDS = 60.0
GATHER_SECONDS = 0.5

IMPORTING = threading.Lock()
"""Trackers of one process begin side by side, and mlflow's modules import each other in circles: two threads that import them at
once find them half made."""

CLIENT_ENVIRONMENT = {
    # A server that is away must cost seconds, not the default four minutes per call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True)
class MlflowRun:
    """An open run on a tracking server: all that another process needs to add to it."""

    uri: str
    experiment_id: str
    run_id: str

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Record parameters at once. Raises StorageError."""
        _guarded(self.uri, lambda: _send_params(_client(self.uri), self.run_id, values))

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers at once. Raises StorageError."""
        found = [_Metric(name, float(value), _now(), step) for name, value in values.items()]
        _guarded(self.uri, lambda: _send_metrics(_client(self.uri), self.run_id, found))

    def log_artifact(self, path: Path) -> None:
        """Upload a file at once. Raises StorageError."""
        _guarded(self.uri, lambda: _client(self.uri).log_artifact(self.run_id, str(path)))

    def close(self, status: Status) -> None:
        """End the run. Raises StorageError."""
        _guarded(self.uri, lambda: _client(self.uri).set_terminated(self.run_id, STATUS[status]))


def sqlite_uri(folder: Path) -> str:
    """The default: a database file `mlflow.db` in `folder`."""
    return f"sqlite:///{folder.absolute() / 'mlflow.db'}"


def shown(uri: str) -> str:
    """A tracking address without user and password, for messages."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def open_run(uri: str, name: str, parent: MlflowRun | None = None, tags: Mapping[str, str] | None = None) -> MlflowRun:
    """Begin the run `name`, nested in `parent` if given, or continue it where a run of this name was begun before.

    Raises DependencyError without mlflow, StorageError when the address does not answer.
    """
    return _guarded(uri, lambda: _open_run(uri, name, parent, tags or {}))


def _open_run(uri: str, name: str, parent: MlflowRun | None, tags: Mapping[str, str]) -> MlflowRun:
    client = _client(uri)
    experiment_id = parent.experiment_id if parent else _experiment(client, uri)
    wanted = {RUN_TAG: name, **({PARENT_TAG: parent.run_id} if parent else {})}
    condition = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in wanted.items())
    known = client.search_runs([experiment_id], condition, max_results=1)
    if known:
        client.update_run(known[0].info.run_id, status="RUNNING")
        return MlflowRun(uri, experiment_id, known[0].info.run_id)
    run = client.create_run(experiment_id, tags={**tags, **wanted}, run_name=name)
    return MlflowRun(uri, experiment_id, run.info.run_id)


class MlflowTracker:
    """The nested run of one concept; calls return at once, a thread sends.

    `lost` counts what could not be sent.
    """

    def __init__(
        self, uri: str, name: str, parent: MlflowRun | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        self._uri = uri
        self._open = lambda: _open_run(uri, name, parent, tags or {})
        self._queue: queue.Queue[_Item] = queue.Queue(QUEUE_LENGTH)
        self._lost = 0
        self._name = name
        self._run: MlflowRun | None = None
        self._thread = threading.Thread(target=self._send_all, name=f"mlflow-{name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Events that could not be sent."""
        return self._lost

    def params(self, values: Mapping[str, Any]) -> None:
        kept = dict(values)
        self._put(_Item(lambda run: _send_params(_client(self._uri), run.run_id, kept)))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._put(_Item(metrics=[_Metric(name, float(value), _now(), step) for name, value in values.items()]))

    def image(self, name: str, step: int, picture: Image.Image) -> None:
        kept = picture.copy() if isinstance(picture, Image.Image) else Image.open(picture)
        self._put(
            _Item(
                lambda run: _client(self._uri).log_image(
                    run.run_id, kept, key=name.replace("/", "_"), step=step, synchronous=True
                )
            )
        )

    def artifact(self, path: Path) -> None:
        self._put(_Item(lambda run: _client(self._uri).log_artifact(run.run_id, str(path))))

    def close(self, status: Status) -> None:
        """Send what is left, for at most a minute, and end the run."""
        self._put(_Item(lambda run: _client(self._uri).set_terminated(run.run_id, STATUS[status]), last=True))
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._count(self._queue.qsize() + 1, "the tracking server is too slow")
        if self._lost:
            log.warning(
                "%d events of '%s' are missing in %s; %s",
                self._lost,
                self._name,
                shown(self._uri),
                "events.jsonl has them",
            )

    def _put(self, item: "_Item") -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._count(1, "the queue to the tracking server is full")

    def _count(self, number: int, reason: str) -> None:
        if not self._lost:
            log.warning("'%s' is not fully tracked: %s", self._name, " ".join(reason.split())[:300])
        self._lost += number

    def _send_all(self) -> None:
        last = False
        while not last:
            items = self._gather()
            last = items[-1].last
            metrics = [metric for item in items for metric in item.metrics]
            if metrics:
                self._try(lambda run, found=metrics: _send_metrics(_client(self._uri), run.run_id, found))
            for item in items:
                if item.send is not None:
                    self._try(item.send)

    def _gather(self) -> "list[_Item]":
        """What has come in, waiting a moment for company: one batch costs a database as much as one number."""
        items = [self._queue.get()]
        until = time.monotonic() + GATHER_SECONDS
        while not items[-1].last and len(items) < METRICS_PER_BATCH:
            try:
                items.append(self._queue.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return items

    def _try(self, send: "Callable[[MlflowRun], object]") -> None:
        try:
            if self._run is None:
                self._run = _guarded(self._uri, self._open)
            run = self._run
            _guarded(self._uri, lambda: send(run))
        except (
            Exception
        ) as error:  # an error that ended the thread would lose all that follows, and nobody would hear of it
            self._count(1, str(error) or type(error).__name__)


@dataclass(frozen=True)
class _Metric:
    name: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class _Item:
    send: Callable[[MlflowRun], object] | None = None
    metrics: list[_Metric] = field(default_factory=list)
    last: bool = False


def _guarded(uri: str, action: Callable[[], Result]) -> Result:
    """Run `action`; what MLflow, its database or the network say becomes a one-line StorageError."""
    _client(uri)
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return action()
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StorageError(
            f"tracking at '{shown(uri)}' failed ({reason}): correct --tracking-uri, start the server, or use 'off'"
        ) from error


def _client(uri: str) -> Any:
    """A client of `uri`. Raises DependencyError without mlflow, StorageError for an address that it refuses."""
    for name, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with IMPORTING:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
    except ModuleNotFoundError as error:
        raise DependencyError("tracking needs the library 'mlflow': pip install mlflow, or use 'off'") from error
    # Its database layer reports every migration step of a new file; those lines mean nothing to a user.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        return MlflowClient(uri)
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"tracking address '{shown(uri)}' is refused ({reason}): correct --tracking-uri") from error


def _experiment(client: Any, uri: str) -> str:
    known = client.get_experiment_by_name(EXPERIMENT)
    if known is not None:
        return known.experiment_id
    # A database file keeps its artifacts beside it; a server decides for itself.
    file = uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else ""
    return client.create_experiment(
        EXPERIMENT, (Path(file).absolute().parent / "mlartifacts").as_uri() if file else None
    )


def _send_params(client: Any, run_id: str, values: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(name, str(value)[:PARAM_LENGTH]) for name, value in values.items()]
    for start in range(0, len(params), PARAMS_PER_BATCH):
        client.log_batch(run_id, params=params[start : start + PARAMS_PER_BATCH])


def _send_metrics(client: Any, run_id: str, found: list[_Metric]) -> None:
    from mlflow.entities import Metric

    for start in range(0, len(found), METRICS_PER_BATCH):
        part = found[start : start + METRICS_PER_BATCH]
        client.log_batch(run_id, metrics=[Metric(one.name, one.value, one.time, one.step) for one in part])


def _now() -> int:
    return int(time.time() * 1000)
