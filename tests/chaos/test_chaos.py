"""Chaos: whatever is killed, the job completes, every concept is published once, and with the bytes of an undisturbed job.

A short version of `python tests/chaos/run.py`: a worker, the queue's actor, a lane's controller and the driver are killed (F1, F5, F6), the
driver is told to end and continued by the job's name (F6, F8), a node says that it will go, and goes (F2, F3), a second driver of a living
job is refused, and a run that another job is training is left to it (F16). docs/faults.md has the other numbers.
"""

import random
import signal
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from chaos_killer import Killer
from chaos_outcome import finished, repeated_epochs, same_rows, versions
from chaos_world import Driver, world

from cluster.__main__ import main
from cluster.lane_desk import RUN_LEASE
from cluster.lease import Lease, Owner, Watch, take_lease
from cluster.plan import plan_job
from unictokens.config import PRESETS, override, parse_settings
from unictokens.data.catalog import Catalog
from unictokens.learn import Output

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.ray,
    pytest.mark.chaos,
]

NAMES = ("bo", "miru", "tavo")
SECONDS = 600.0
"""For one step of the story on a machine that is busy with others."""


def test_whatever_is_killed_the_job_ends_as_if_nothing_had_been(
    toyland: Path,
    tiny_base: Path,
    short_settings: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from unictokens.cli.main import main as alone

    base = ["--config", "demo", "--backbone", str(tiny_base), "--set", *short_settings]
    base += [f"stages.{stage}.epochs=12" for stage in ("warmup", "bootstrap", "deepen")]
    config = override(PRESETS["demo"], {**parse_settings(base[5:]), "backbone": str(tiny_base)})
    options = ["--data", str(toyland), "--concepts", ",".join(NAMES), "--pack", "1", "--tracking-uri", "off", *base]
    out = tmp_path / "out"
    (busy,) = plan_job(Catalog.open(toyland), ("tavo",), config, Output(out), resume=False).runs
    elsewhere = take_lease(out / "runs" / busy.name, RUN_LEASE, Owner.here("another-job"), Watch())
    assert isinstance(elsewhere, Lease)
    with world(nodes=2) as cluster:
        driver = Driver(cluster, out, options)
        killer = Killer(cluster, driver, random.Random(0), notice=[12.0])

        def epochs() -> int:
            """Epochs that are saved, all runs together."""
            return sum(len(path.read_text().splitlines()) for path in (out / "runs").glob("*/history.jsonl"))

        def strike(kind: str) -> None:
            before = epochs()
            killer.strike_after(kind, lambda: epochs() > before, SECONDS)

        strike("worker")
        strike("queue")
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        assert main(["train", "--out", str(out), *options, "--resume"]) == 2, "a second driver is refused"
        assert "is being driven by" in capsys.readouterr().err and driver.code() is None
        driver.signal(signal.SIGTERM)
        assert driver.wait(SECONDS) == 130, driver.said()
        driver.resume()
        strike("lane")
        strike("driver")
        strike("drain")
        assert not (out / "runs" / busy.name / "history.jsonl").exists(), "another job is at it"
        elsewhere.release()
        assert killer.rage((1e9, 1e9), SECONDS) == 0, driver.said()
        leftovers = cluster.leftovers(30.0)
    print(driver.said())
    assert killer.done == ["worker", "queue", "lane", "driver", "drain"] and driver.starts == 3
    assert versions(out) == dict.fromkeys(NAMES, 1)
    assert set(finished(out).values()) == {"finished"}
    assert not leftovers
    assert max(repeated_epochs(out).values()) <= 1
    reference = tmp_path / "alone"
    # As many threads as a lane of one core has: products of other numbers of threads round differently on some processors.
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(1)
    for name in NAMES:
        command = [
            "train",
            "--data",
            str(toyland),
            "--concept",
            name,
            "--out",
            str(reference),
            "--device",
            "cpu",
            *base,
        ]
        assert alone(command) == 0
    assert same_rows(out, reference) == dict.fromkeys(NAMES, True)
    assert not list(out.glob("runs/*/checkpoints/damaged-*"))
