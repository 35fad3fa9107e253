"""A job sent to a real cluster, from beginning to end: sent twice it is one, it is watched, ended in peace, continued, and its
log read. The cluster asks for its token; only what `--address` can reach of it is used, and the folder that it shares with us.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from cluster.__main__ import main
from unictokens.concepts.store import ConceptStore

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]

TOKEN = "0123456789abcdef" * 4
CLUSTER = """
import sys, ray
context = ray.init(
    address="local", num_cpus=1, log_to_driver=False, object_store_memory=80 * 2**20, _temp_dir=sys.argv[1]
)
print("http://" + context.dashboard_url, flush=True)
sys.stdin.read()
ray.shutdown()
"""
SECONDS = 300.0


@dataclass(frozen=True)
class There:
    """Where a cluster is: its dashboard, and a file with its token."""

    url: str
    token: Path

    @property
    def words(self) -> list[str]:
        return ["--address", self.url, "--token-file", str(self.token)]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    """A cluster of this machine, in a process of its own: what this process knows of Ray must not matter."""
    folder = tmp_path_factory.mktemp("cluster")
    token = folder / "token"
    token.write_text(TOKEN)
    # Of several Rays of one machine whose sessions lie in one folder, a driver may be sent to the wrong one; socket names are short.
    sessions = tempfile.mkdtemp(prefix="ray-")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    mine = {"PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, sessions],
        env={**clean, **mine, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    url = process.stdout.readline().strip()
    assert url, "Ray did not start"
    yield There(url, token)
    process.stdin.close()
    process.wait(60)
    shutil.rmtree(sessions, ignore_errors=True)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited {SECONDS:.0f} s for: {what}"
        time.sleep(0.3)


def test_a_job_is_sent_watched_ended_and_continued(
    there: There,
    toyland: Path,
    tiny_base: Path,
    short_settings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    # Long enough to be ended before its end.
    settings = [*short_settings, "stages.warmup.epochs=800", "preview.every=0"]
    command = ["train", "--data", str(toyland), "--concepts", "bo", "--out", str(out), "--config", "demo"]
    command += ["--backbone", str(tiny_base), "--lanes", "1", "--tracking-uri", "off", "--set", *settings]

    def said(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(list(words)) == code
        return capsys.readouterr().out

    def now() -> dict:
        """How the job stands, by its folder."""
        capsys.readouterr()
        if main(["status", "--out", str(out), "--json"]) == 2:
            return {"state": "", "counts": {}, "runs": [{"epoch": 0}]}
        return json.loads(capsys.readouterr().out)

    first = said(*command, *there.words)
    name = first.split(":")[0]
    assert name.startswith("train-") and "attempt 1" in first
    assert "already" in said(*command, *there.words)

    until(lambda: now()["runs"][0]["epoch"] >= 2, "the second epoch")
    assert now()["state"] == "running"
    assert "end after their epoch" in said("cancel", name, "--wait", *there.words)
    assert now()["state"] == "stopped"
    stopped_at = now()["runs"][0]["epoch"]
    assert 2 <= stopped_at < 800

    # The same words again: the rest is learned by the next attempt.
    again = said(*command, *there.words)
    assert f"{name}: attempt 2, after one that is" in again
    assert "bo: published v1" in said("logs", name, "--follow", *there.words)
    assert json.loads(said("status", name, "--json", *there.words))["state"] == "finished"
    assert len(ConceptStore(out / "store").versions("bo")) == 1


def test_a_wrong_token_is_one_line(there: There, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("fedcba")
    assert main(["status", "--address", there.url, "--token-file", str(wrong)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "refuses this token" in line
