"""A real sweep on this machine, stopped on its way and gone on with: Tune ends poor trials, their runs leave the packs, nothing leaks."""

import json
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from cluster.__main__ import main
from cluster.folder import JobFolder
from cluster.host import ray_session
from cluster.lease import Lease, Owner, Renewal, Watch, take_lease
from cluster.sweeping.session import JOB
from unictokens.config import load_config

NAME = "mine"


def command(toyland: Path, tiny_base: Path, short_settings: list[str], out: Path) -> list[str]:
    space = out.parent / "space.json"
    space.write_text(
        json.dumps(
            {
                "layout.shared": {"choice": [2, 3]},
                "stages.warmup.optim.lr": {"choice": [0.05, 0.0001]},
                "stages.deepen.optim.lr": {"choice": [0.05, 0.01]},
            }
        )
    )
    start = ["sweep", "--space", str(space), "--data", str(toyland), "--concepts", "bo,tavo", "--out", str(out)]
    start += ["--search", "grid", "--name", NAME, "--metric", "rec,tokens", "--grace", "1", "--reduction", "2"]
    return [*start, "--lanes", "1", "--config", "demo", "--backbone", str(tiny_base), "--set", *short_settings]


def trials(out: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted((out / "sweeps" / NAME / "trials").glob("0*.json"))]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_sweep_that_was_stopped_goes_on_and_leaves_the_cluster_as_it_was(
    toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    whole = command(toyland, tiny_base, short_settings, out)

    def stop_on_the_way() -> None:
        while not any(trial["state"] != "running" for trial in trials(out)):
            time.sleep(0.2)
        JobFolder(out / "sweeps" / NAME, JOB).ask_stop()

    with ray_session() as ray:
        before = ray.available_resources()
        threading.Thread(target=stop_on_the_way, daemon=True).start()
        assert main(whole) == 130
        halfway = {trial["number"]: trial for trial in trials(out)}
        assert main(whole) == 2, "a second sweep of one name is refused"
        assert main([*whole, "--resume"]) == 0
        until = time.monotonic() + 30
        while ray.available_resources() != before and time.monotonic() < until:
            time.sleep(0.5)
        after = ray.available_resources()
        assert {name: after.get(name) for name in ("CPU", "memory")} == {
            name: before[name] for name in ("CPU", "memory")
        }
    found = trials(out)
    assert len(found) == 8 and len({json.dumps(trial["sample"]) for trial in found}) == 8
    assert {trial["state"] for trial in found} == {"finished", "stopped"}
    for trial in found:
        known = halfway.get(trial["number"])
        assert known is None or known["state"] == "running" or known == trial, "what was over is not made again"
        epochs = {
            len((out / "sweeps" / NAME / "runs" / run / "history.jsonl").read_text().splitlines())
            for run in trial["runs"]
        }
        assert max(epochs) <= 6 and (trial["state"] == "stopped" or epochs == {6})
        if trial["state"] == "finished":
            assert trial["scores"]["tokens"] == {"bo": [trial["sample"]["layout.shared"] + 4.0]} | {
                "tavo": [trial["sample"]["layout.shared"] + 4.0]
            }
    folder = out / "sweeps" / NAME
    best = load_config(str(folder / "best.json"))
    assert best.layout.shared in (2, 3) and best.seed == 0
    assert all((folder / file).stat().st_size for file in ("trials.csv", "pareto.json", "curves.png", "pareto.png"))
    assert not list((folder / "ray").iterdir()), "nothing of Tune's stays"
    if find_spec("mlflow") is not None:
        _is_tracked(out, len(found))


def _is_tracked(out: Path, count: int) -> None:
    from mlflow import MlflowClient

    from unictokens.tracking.address import sqlite_uri

    client = MlflowClient(sqlite_uri(out))
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()], max_results=1000)
    (sweep,) = [run for run in runs if run.data.tags.get("kind") == "sweep"]
    mine = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == sweep.info.run_id]
    assert sum(run.data.tags.get("kind") == "trial" for run in mine) == count
    assert sweep.data.metrics["trials_finished"] + sweep.data.metrics["trials_stopped"] == count
    assert not client.search_registered_models(), "trials are nothing to be used"
    assert "best.json" in [file.path for file in client.list_artifacts(sweep.info.run_id)]


def test_impossible_sweeps_are_one_line(
    toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    start = ["sweep", "--data", str(toyland), "--concepts", "bo", "--out", str(out), "--config", "demo"]
    start += ["--backbone", str(tiny_base), "--set", *short_settings]
    rates = ["--space", "learning_rates"]
    (tmp_path / "epochs.json").write_text('{"stages.warmup.epochs": {"int": [1, 3]}}')
    (tmp_path / "many.json").write_text('{"layout.shared": {"choice": [2, 90]}}')
    for more, named in (
        (["--space", "tokens"], "token_budget"),
        ([*rates, "--metric", "best"], "--metric 'best'"),
        ([*rates, "--seeds", "0"], "--seeds 0"),
        ([*rates, "--trials", "-1"], "--trials -1"),
        ([*rates, "--concepts", "nobody"], "nobody"),
        ([*rates, "--search", "grid", "--trials", "3"], "27 points"),
        ([*rates, "--name", "../up"], "sweep name"),
        (["--space", "token_budget", "--scheduler", "pbt"], "pbt cannot search layout.shared"),
        (["--space", str(tmp_path / "epochs.json")], "--scheduler none"),
        (["--space", str(tmp_path / "many.json")], "layout.shared=90 is too large"),
        (["--space", str(tmp_path / "many.json"), "--search", "optuna"], "layout.shared=90 is too large"),
    ):
        assert main([*start, *more]) == 2, more
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and named in line
    assert main(["sweep", *rates]) == 2 and "--data" in capsys.readouterr().err
    assert not out.exists(), "nothing is written before everything was checked"


def test_a_space_is_printed_beside_what_the_configuration_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--space", "learning_rates", "--show", "--config", "demo"]) == 0
    said = capsys.readouterr().out
    assert "stages.deepen.optim.lr" in said and "0.005 to 0.5" in said and "0.05" in said


def test_two_sweeps_of_one_name_at_a_time_are_refused(
    toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    lease = take_lease(out / "sweeps" / NAME, "sweep", Owner.here(NAME), Watch())
    assert isinstance(lease, Lease)
    with Renewal(lease):
        assert main(command(toyland, tiny_base, short_settings, out)) == 2
    assert f"sweep '{NAME}' is being driven by" in capsys.readouterr().err
