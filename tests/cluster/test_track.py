"""`cluster track` fills a server from what is on disk, as often as one likes, and says in a line what is wrong with a command."""

from pathlib import Path

import pytest

from cluster.__main__ import main
from unictokens.tracking.address import sqlite_uri
from unictokens.tracking.tracked import Tracked

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")


def test_a_job_that_nobody_tracked_is_sent_afterwards_and_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, uri = tmp_path / "out", sqlite_uri(tmp_path)
    job = Tracked(out, None).tracker("job-1", {"kind": "job"})
    run = Tracked(out, None, job.above).tracker("bo-1", {"concept": "bo"}, out / "runs/bo-1")
    for step in range(10):
        run.metrics(step, {"total_loss": 1.0 / (step + 1)})
    (out / "runs/bo-1/concept.safetensors").write_bytes(b"rows")
    run.published("bo", 1, out / "runs/bo-1/concept.safetensors")
    run.close("finished")
    job.close("finished")
    command = ["track", str(out), "--tracking-uri", uri]
    for more, said in (
        ([], "sent 15 events of 2 runs"),
        ([], "sent 0 events"),
        (["--again"], "sent 15 events of 2 runs"),
    ):
        assert main([*command, *more]) == 0
        assert said in " ".join(capsys.readouterr().out.split())
    client = mlflow.MlflowClient(uri, uri)
    runs = client.search_runs([client.get_experiment_by_name("unictokens").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["bo-1", "job-1"]
    (child,) = [run for run in runs if run.info.run_name == "bo-1"]
    assert len(client.get_metric_history(child.info.run_id, "total_loss")) == 10
    (version,) = client.search_model_versions("name = 'unictokens-bo'")
    assert version.description == "bo@v1 in the concept store"


def test_impossible_commands_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Tracked(tmp_path / "out", None).tracker("job-1", {}).close("finished")
    for command, named in (
        ([str(tmp_path / "nowhere")], "nowhere"),
        ([str(tmp_path / "out"), "--tracking-uri", "off"], "off"),
        ([str(tmp_path / "out"), "--seconds", "0"], "--seconds 0"),
        ([str(tmp_path / "out"), "--tracking-uri", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ):
        assert main(["track", *command]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and named in line
