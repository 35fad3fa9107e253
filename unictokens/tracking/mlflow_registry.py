"""A registry of models that speaks MLflow, read: which versions of a model there are, what its aliases mean, and their bundles.

A version is a folder of artifacts with the file `concept.safetensors` in it, as `MlflowServer.register` leaves it. Nothing else is
fetched, and what is fetched is bytes: no model of MLflow is ever loaded.
"""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

from unictokens.tracking.address import SQLITE, shown
from unictokens.tracking.mlflow_client import MlflowConnection
from unictokens.tracking.mlflow_server import BUNDLE
from unictokens.tracking.server import Away, Refused

NEWEST = 20
"""So many versions are told of; older ones where an alias means them."""
PAGE = 1000
"""Models of one answer, as many as MLflow gives."""
MOST_BYTES = 64 * 2**20
"""Larger files are no bundles: one of the published Show-o takes half a MiB."""
READY = "READY"


@dataclass(frozen=True)
class Registered:
    """What a registry says of a model: numbers of its newest versions, newest first, and what its aliases mean."""

    versions: tuple[int, ...]
    aliases: Mapping[str, int]


class MlflowRegistry:
    """The registry at `uri`. Raises DependencyError without mlflow, Refused for an address that it does not understand, Away."""

    def __init__(self, uri: str) -> None:
        self._file = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None
        self._uri = uri
        self._need_file()
        self._connection = MlflowConnection(uri, "the registry", "correct its address, or start the server")

    def look(self, model: str) -> Registered:
        """What there is of a model now. Raises Refused when the registry has none of that name, Away."""
        self._need_file()
        client = self._connection.client
        if "'" in model:
            raise Refused(
                f"model {model[:64]!r} has a quote in its name, with which MLflow cannot look for it: rename it"
            )

        def ask() -> Registered:
            aliases = client.get_registered_model(model).aliases
            found = client.search_model_versions(f"name = '{model}'", NEWEST, ["version_number DESC"])
            ready = tuple(int(version.version) for version in found if version.status == READY)
            return Registered(ready, {alias: int(version) for alias, version in aliases.items()})

        return self._connection.asked(ask)

    def marks(self, models: Collection[str]) -> dict[str, str]:
        """Of those models that there are, by name, a text that is another one when a version or an alias has come, moved or gone.

        One request for up to a thousand models, where `look` takes two for each. Raises Away.
        """
        self._need_file()
        beginning = commonprefix(list(models)).partition("'")[0]  # noqa: RUF071  characters are meant

        def ask() -> dict[str, str]:
            found: dict[str, str] = {}
            token = None
            while True:
                page = self._connection.client.search_registered_models(f"name LIKE '{beginning}%'", PAGE, None, token)
                for one in page:
                    newest = sorted((int(version.version), version.status) for version in one.latest_versions)
                    found[one.name] = f"{newest} {sorted(one.aliases.items())}"
                token = page.token
                if not token:
                    return {name: mark for name, mark in found.items() if name in models}

        return self._connection.asked(ask)

    def bundle(self, model: str, version: int) -> bytes:
        """A version's file. Raises StorageError: Refused when there is none in the registry or its artifacts, Away and others."""
        return self._connection.asked(lambda: self._bundle(model, version))

    def _bundle(self, model: str, version: int) -> bytes:
        from mlflow.artifacts import download_artifacts, list_artifacts

        place = self._connection.client.get_model_version_download_uri(model, str(version))
        files = {one.path.rpartition("/")[2]: one for one in list_artifacts(artifact_uri=place, tracking_uri=self._uri)}
        file = files.get(BUNDLE)
        if file is None or file.is_dir:
            raise Refused(f"version {version} of '{model}' has no file '{BUNDLE}': register it with 'cluster track'")
        if (file.file_size or 0) > MOST_BYTES:
            raise Refused(f"version {version} of '{model}' has {file.file_size} bytes, no bundle has over {MOST_BYTES}")
        with tempfile.TemporaryDirectory() as folder:
            wanted = f"{place.rstrip('/')}/{BUNDLE}"
            return Path(download_artifacts(artifact_uri=wanted, dst_path=folder, tracking_uri=self._uri)).read_bytes()

    def _need_file(self) -> None:
        # MLflow would make a database where there is none, and find nothing in it.
        if self._file is not None and not self._file.is_file():
            raise Away(
                f"the registry at '{shown(self._uri)}' is not there: correct its address, or bring the file back"
            )


def place_of(model: str, version: int) -> str:
    """How MLflow writes a version, for messages about what is in it."""
    return f"models:/{model}/{version}"
