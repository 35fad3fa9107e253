"""Tracking servers for the tests of this room: MLflow's own application over HTTP, with faults on request."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_server import FaultyServer

from unictokens.tracking.address import sqlite_uri


@pytest.fixture(scope="session")
def mlflow_application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyServer]:
    """MLflow over HTTP on a database file, artifacts through the server; skipped without mlflow."""
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    folder = tmp_path_factory.mktemp("server")
    server = FaultyServer(database=sqlite_uri(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", server.database)
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
        patch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", Path(folder, "artifacts").as_uri())
        from mlflow.server import app, handlers
        from werkzeug.serving import make_server

        handlers.initialize_backend_stores(server.database, server.database, "mlflow-artifacts:/")
        listening = make_server("127.0.0.1", 0, server.wrap(app), threaded=True)
        server.uri = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield server
        listening.shutdown()
        thread.join()
