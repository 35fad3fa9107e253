"""Tracking servers for the tests of this room: MLflow's own application over HTTP, with faults on request."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from unictokens.tracking.address import sqlite_uri


@dataclass
class FaultyServer:
    """MLflow's application. Each request takes the next word of `faults`:

    "500", "503", "413"  answered so, and nothing done
    "lost"               done, but answered 500
    a number             answered after so many seconds
    """

    uri: str = ""
    database: str = ""
    faults: list[str | float] = field(default_factory=list)
    requests: int = 0

    def wrap(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        def called(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            self.requests += 1
            fault = self.faults.pop(0) if self.faults else ""
            if isinstance(fault, float):
                time.sleep(fault)
            elif fault:
                if fault == "lost":
                    b"".join(app(environ, lambda *_: None))  # type: ignore[arg-type]
                start(f"{fault if fault != 'lost' else '500'} Broken", [("Content-Type", "text/plain")])
                return [b"broken"]
            return app(environ, start)

        return called


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
