"""A real PostgreSQL server for tests: the machine's, or Debian's package, installed by apt-get where this is root's machine."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
"""PostgreSQL refuses to run as root."""


def binaries() -> Path | None:
    """The folder of initdb and postgres."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("postgres")
    places += [Path(found).resolve().parent] if found else []
    return next((place for place in places if (place / "initdb").exists()), None)


def install() -> None:
    """Debian's package, where that is possible; what stands in the way is said by the skip."""
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "postgresql"]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(command, capture_output=True, env=quiet, timeout=180, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"apt-get could not install postgresql: {error}")


@dataclass(frozen=True)
class PostgresServer:
    """A server of our own, on this machine alone."""

    port: int

    def database(self, name: str) -> str:
        """The address of a new database."""
        import psycopg

        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._address(name)

    def _address(self, name: str) -> str:
        return f"postgresql://keeper@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server; where there is none, tests are skipped with what is missing."""
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: pip install 'unictokens[postgres]'")
    if binaries() is None:
        install()
    place = binaries()
    if place is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    data = folder / "data"
    user: dict[str, Any] = {}
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    initdb = [place / "initdb", "-D", data, "-U", "keeper", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"]
    made = subprocess.run(initdb, capture_output=True, text=True, cwd=folder, check=False, **user)
    if made.returncode:
        shutil.rmtree(folder)
        pytest.skip(f"initdb refused: {made.stderr[-300:]}")
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", folder, "-p", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [place / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **user
        )
    try:
        until = time.monotonic() + 60
        ready = [place / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-500:]
            time.sleep(0.2)
        yield PostgresServer(port)
    finally:
        process.send_signal(signal.SIGINT)  # "fast": it does not wait for connections that pools keep
        process.wait(30)
        shutil.rmtree(folder)
