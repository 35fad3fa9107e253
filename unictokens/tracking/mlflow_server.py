"""A tracking server that speaks MLflow: an address, or a database.

Runs are found by a tag with their spool's mark. A concept's bundle is a plain artifact in `model/` of its run, and the version
in the registry points there: no pickled Python is involved, and `mlflow.artifacts.download_artifacts("models:/unictokens-bo@stable")`
gives the file. MLflow itself calls the newest version `latest`.
"""

import hashlib
import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from unictokens.tracking.address import SQLITE, shown
from unictokens.tracking.base import Status
from unictokens.tracking.mlflow_client import MlflowConnection, words
from unictokens.tracking.server import Number, Refused, Setting

EXPERIMENT = "unictokens"
RUN_TAG, SPOOL_TAG, ENDED_TAG, VERSION_TAG = (
    "unictokens.run",
    "unictokens.spool",
    "unictokens.ended",
    "unictokens.version",
)
PARENT_TAG, IMAGES_TAG = "mlflow.parentRunId", "mlflow.loggedImages"
KIND_TAG = "mlflow.experimentKind"
"""By which MLflow's pages open with runs and curves, not with conversations."""
DATABASES = ("postgresql", "mysql", "mssql")
"""How addresses of databases begin that are no file here."""
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
PARAM_LENGTH = 500
THUMBNAIL = 256
MODEL, BUNDLE = "model", "concept.safetensors"
"""A bundle among a run's artifacts: the folder that a version of the registry means, and the file in it."""


def model_name(concept: str) -> str:
    """A concept's name in the registry, which it may share with others."""
    return f"unictokens-{concept}"


class MlflowServer:
    """The server at `uri`. Raises DependencyError without mlflow, Refused for an address that it does not understand."""

    def __init__(self, uri: str) -> None:
        self._connection = MlflowConnection(
            uri, "tracking", "correct --tracking-uri, start the server, or use 'off'", without=", or use 'off'"
        )
        self._asked = self._connection.asked
        self._client = self._connection.client
        self._uri = uri
        self._experiment = ""

    def check(self) -> None:
        self._asked(self._experiment_id)

    def open(self, spool: str, name: str, tags: Mapping[str, str], parent: str, time: int, going_on: bool) -> str:
        own = {**tags, RUN_TAG: name, SPOOL_TAG: spool, **({PARENT_TAG: parent} if parent else {})}
        return self._asked(lambda: self._open(name, own, time, going_on))

    def send(self, run: str, items: Sequence[Number | Setting]) -> None:
        from mlflow.entities import Metric, Param

        metrics = [Metric(one.name, one.value, one.time, one.step) for one in items if isinstance(one, Number)]
        params = [Param(one.name, one.value[:PARAM_LENGTH]) for one in items if isinstance(one, Setting)]
        self._asked(lambda: self._client.log_batch(run, metrics=metrics, params=params))

    def image(self, run: str, file: Path, name: str, step: int, time: int) -> None:
        """The picture and its thumbnail under the names by which MLflow's pages find them, the same ones each time."""
        # MLflow's own call invents a name each time, and a picture that is sent twice would be shown twice.
        mark = hashlib.sha256(f"{run} {name} {step} {time}".encode()).hexdigest()[:32]
        stem = f"{name.replace('/', '~')}+step+{step}+timestamp+{time}+{mark}"
        picture = _picture(file)

        def send() -> None:
            with tempfile.TemporaryDirectory() as folder:
                whole, small = Path(folder, f"{stem}.png"), Path(folder, f"{stem}+compressed.webp")
                picture.save(whole)
                picture.thumbnail((THUMBNAIL, THUMBNAIL))
                picture.save(small)
                for path in (whole, small):
                    self._client.log_artifact(run, str(path), "images")
            self._client.set_tag(run, IMAGES_TAG, "True")

        self._asked(send)

    def artifact(self, run: str, file: Path) -> None:
        if not file.is_file():
            raise Refused(f"'{file}' is gone")
        self._asked(lambda: self._client.log_artifact(run, str(file)))

    def register(self, run: str, spool: str, concept: str, version: int, bundle: Path) -> None:
        if not bundle.is_file():
            raise Refused(f"'{bundle}' is gone")
        self._asked(lambda: self._register(run, spool, concept, version, bundle))

    def alias(self, concept: str, aliases: Mapping[str, int]) -> bool:
        return self._asked(lambda: self._alias(model_name(concept), aliases))

    def close(self, run: str, status: Status, time: int, reason: str) -> None:
        def send() -> None:
            if reason:
                self._client.set_tag(run, ENDED_TAG, reason)
            self._client.set_terminated(run, STATUS[status], end_time=time)

        self._asked(send)

    def _open(self, name: str, tags: dict[str, str], time: int, going_on: bool) -> str:
        experiment = self._experiment_id()
        known = self._client.search_runs([experiment], f"tags.`{SPOOL_TAG}` = '{tags[SPOOL_TAG]}'", max_results=1)
        if not known:
            return str(self._client.create_run(experiment, start_time=time, tags=tags, run_name=name).info.run_id)
        run, found = known[0], str(known[0].info.run_id)
        if not going_on:
            return found
        self._client.update_run(found, status="RUNNING")
        for tag, value in tags.items():
            if run.data.tags.get(tag) != value:
                self._client.set_tag(found, tag, value)
        if ENDED_TAG in run.data.tags:
            self._client.delete_tag(found, ENDED_TAG)
        return found

    def _experiment_id(self) -> str:
        if not self._experiment:
            known = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment = known.experiment_id if known is not None else self._new_experiment()
        return self._experiment

    def _new_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        # A database file keeps its artifacts beside it; a server decides for itself. Another database has no place for
        # them: MLflow would put them below the working directory of whichever process happens to send.
        file = self._uri.removeprefix(SQLITE) if self._uri.startswith(SQLITE) else ""
        place = (Path(file).absolute().parent / "mlartifacts").as_uri() if file else None
        if not file and self._uri.startswith(DATABASES):
            raise Refused(
                f"tracking at '{shown(self._uri)}' has no experiment '{EXPERIMENT}', and a database no place for its files: make it "
                f"with 'mlflow experiments create -n {EXPERIMENT} -l s3://BUCKET/PATH', or give the address of an 'mlflow server'"
            )
        try:
            return str(self._client.create_experiment(EXPERIMENT, place, {KIND_TAG: "custom_model_development"}))
        except MlflowException as error:
            known = self._client.get_experiment_by_name(EXPERIMENT)
            if known is None:
                raise error
            return str(known.experiment_id)  # another uploader was quicker

    def _register(self, run: str, spool: str, concept: str, version: int, bundle: Path) -> None:
        from mlflow.exceptions import MlflowException

        name, mark = model_name(concept), {SPOOL_TAG: spool, VERSION_TAG: str(version)}
        with tempfile.TemporaryDirectory() as folder:
            # The names of the artifacts must not depend on what the file is called here.
            copy = shutil.copyfile(bundle, Path(folder, BUNDLE))
            self._client.log_artifact(run, str(copy), MODEL)
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if not self._client.search_model_versions(f"name = '{name}' and tags.`{SPOOL_TAG}` = '{spool}'"):
            told = f"{concept}@v{version} in the concept store"
            self._client.create_model_version(name, f"runs:/{run}/{MODEL}", run, tags=mark, description=told)

    def _alias(self, name: str, aliases: Mapping[str, int]) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            there: Mapping[str, Any] = self._client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return not aliases
            raise
        complete = True
        for alias, version in aliases.items():
            wanted = f"name = '{name}' and tags.`{VERSION_TAG}` = '{version}'"
            found = self._client.search_model_versions(wanted, max_results=1, order_by=["version_number DESC"])
            complete = complete and bool(found)
            if found and str(there.get(alias)) != str(found[0].version):
                self._client.set_registered_model_alias(name, alias, found[0].version)
        for alias in there.keys() - aliases.keys():
            self._client.delete_registered_model_alias(name, alias)
        return complete


def _picture(file: Path) -> Image.Image:
    try:
        with Image.open(io.BytesIO(file.read_bytes())) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise Refused(f"picture '{file}' cannot be read ({words(error)})") from error
