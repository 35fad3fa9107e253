"""The stories of `test_chaos`, `test_chaos_bucket` and `test_chaos_endpoint`, each told in a process that has not met Ray yet.

Ray reads once per process whether its clusters want a token, and a simulated cluster is not the one of the other tests.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.ray,
    pytest.mark.slow,
]


@pytest.mark.parametrize("story", ["test_chaos.py", "test_chaos_bucket.py", "test_chaos_endpoint.py"])
def test_it_outlives_it(story: str, tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "_MLFLOW_SERVER_"))}
    command = [sys.executable, "-m", "pytest", "-m", "chaos", str(HERE / story), "--basetemp", str(tmp_path / "story")]
    told = subprocess.run(command, cwd=HERE.parents[1], env=clean, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-20_000:] + told.stderr[-2_000:]
    if "1 passed" not in told.stdout:
        pytest.skip(told.stdout.strip().splitlines()[-2])
