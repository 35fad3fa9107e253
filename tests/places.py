"""Places to keep things at, for tests: a folder, memory, servers that speak the protocols of S3 and of Google Cloud Storage, and a
filesystem that fails on command.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from unictokens.storage.base import Place


class FaultyFileSystem(MemoryFileSystem):
    """A bucket in memory whose `fail_at`-th request and all later ones fail, as if the process had died there.

    lost      the failing request is carried out all the same, and only its answer lost
    requests  what was asked, in order
    """

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    lock = threading.RLock()
    requests: ClassVar[list[str]] = []
    fail_at: ClassVar[int | None] = None
    lost: ClassVar[bool] = False
    error: ClassVar[Callable[[], Exception]] = lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @classmethod
    def heal(cls) -> None:
        cls.fail_at, cls.lost, cls.requests = None, False, []
        cls.error = lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _ask(self, what: str, action: Callable[[], Any]) -> Any:
        cls = FaultyFileSystem
        with cls.lock:
            cls.requests.append(what)
            if cls.fail_at is not None and len(cls.requests) >= cls.fail_at:
                if cls.lost and len(cls.requests) == cls.fail_at:
                    action()
                raise cls.error()
            return action()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        self._ask("put", lambda: super(FaultyFileSystem, self).pipe_file(path, value, mode=mode))

    def cat_file(self, path: str, **options: Any) -> bytes:
        return self._ask("get", lambda: super(FaultyFileSystem, self).cat_file(path))

    def find(self, path: str, *args: Any, **options: Any) -> Any:
        return self._ask("list", lambda: super(FaultyFileSystem, self).find(path, *args, **options))

    def modified(self, path: str) -> Any:
        return self._ask("look", lambda: super(FaultyFileSystem, self).modified(path))

    def rm_file(self, path: str) -> None:
        self._ask("remove", lambda: super(FaultyFileSystem, self).rm_file(path))


class CarelessFileSystem(MemoryFileSystem):
    """A server that ignores the condition of a put, as older ones do."""

    protocol = "careless"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        super().pipe_file(path, value)


for kind in (FaultyFileSystem, CarelessFileSystem):
    fsspec.register_implementation(kind.protocol, kind, clobber=True)


@pytest.fixture
def faulty() -> Iterator[type[FaultyFileSystem]]:
    """The filesystem behind `faulty://`, empty and whole."""
    FaultyFileSystem.store.clear()
    FaultyFileSystem.heal()
    yield FaultyFileSystem
    FaultyFileSystem.heal()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """An S3 server on this machine, found and entered through the environment; yields the URL of an empty bucket."""
    server = pytest.importorskip("moto.server", reason="moto (of the extra dev) is not installed")
    pytest.importorskip("s3fs", reason="s3fs (of the extra s3) is not installed")
    from werkzeug.serving import make_server

    # One request at a time: then its conditional put is as indivisible as that of the real one.
    served = make_server("127.0.0.1", 0, server.DomainDispatcherApplication(server.create_backend_app), threaded=False)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{served.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    served.shutdown()
    thread.join()


@pytest.fixture(scope="session")
def gs() -> Iterator[str]:
    """A server of Google Cloud Storage on this machine, found through the environment and asked without a key; yields the URL of
    an empty bucket."""
    pytest.importorskip("gcp_storage_emulator", reason="gcp-storage-emulator (of the extra dev) is not installed")
    pytest.importorskip("gcsfs", reason="gcsfs (of the extra gcs) is not installed")
    from google_storage import GoogleServer

    served = GoogleServer()
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{served.server_port}")
        patch.setenv("NO_GCE_CHECK", "true")  # of a machine of Google's, and of whoever runs the tests, no key is used
        patch.setenv("CLOUDSDK_CONFIG", "/nowhere")
        patch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        yield "gs://bucket"
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture(params=["folder", "memory", "s3", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place of each kind."""
    unique = f"{tmp_path.parent.name}-{tmp_path.name}"
    if request.param == "folder":
        return tmp_path / "place"
    if request.param == "memory":
        return f"memory://{unique}"
    return f"{request.getfixturevalue(request.param)}/{unique}"


@pytest.fixture(params=["memory", "s3", "gs"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty bucket of each kind."""
    unique = f"{tmp_path.parent.name}-{tmp_path.name}"
    return f"memory://{unique}" if request.param == "memory" else f"{request.getfixturevalue(request.param)}/{unique}"
