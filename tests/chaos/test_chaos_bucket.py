"""A job whose output is a bucket outlives its driver and its whole cluster: another one goes on, and every concept is published once."""

import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from chaos_world import Driver, world

from cluster.folder import JobFolder
from cluster.snapshot import Snapshot, Watched
from unictokens.concepts.store import ConceptStore
from unictokens.storage.base import open_storage

NAMES = ("bo", "tavo")
SECONDS = 300.0
"""For one step of the story on a machine that is busy with others."""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_job_in_a_bucket_outlives_its_cluster(
    s3: str, toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path: Path
) -> None:
    out = f"{s3}/{tmp_path.name}"
    options = ["--data", str(toyland), "--concepts", ",".join(NAMES), "--config", "demo", "--backbone", str(tiny_base)]
    options += ["--set", *short_settings, *(f"stages.{stage}.epochs=15" for stage in ("warmup", "bootstrap", "deepen"))]
    with world(nodes=1) as cluster:
        driver = Driver(cluster, out, options, beside=tmp_path)
        before = until_it_trains(driver)
        driver.kill()
        assert before.counts == {"running": 2} and Watched(folder_of(driver)).look().state == "interrupted"
    with world(nodes=1) as another:
        driver.resume(another)
        assert driver.wait(SECONDS) == 0, driver.said()
    over = Watched(folder_of(driver)).look()
    assert over.state == "finished" and not {run.lane for run in over.runs} & {run.lane for run in before.runs}
    store = ConceptStore(f"{out}/store")
    assert {name: len(store.versions(name)) for name in store.names()} == dict.fromkeys(NAMES, 1)
    kept = open_storage(out).list()
    lanes = {run.lane for run in (*before.runs, *over.runs)}
    assert {"summary.json", "report.html", *(f"logs/{lane}.log" for lane in lanes)} <= set(kept)


def folder_of(driver: Driver) -> JobFolder:
    folder = driver.folder
    assert folder is not None
    return folder


def until_it_trains(driver: Driver) -> Snapshot:
    """The job when its runs have saved some epochs."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and driver.code() is None:
        if driver.folder is not None:
            seen = Watched(folder_of(driver)).look()
            if len([run for run in seen.runs if run.epoch > 1]) == len(NAMES):
                return seen
        time.sleep(0.5)
    raise AssertionError(driver.said())
