"""A real Ray Train job on this machine: concepts are published, a broken one fails alone, nothing is done twice."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from cluster.__main__ import main
from unictokens.concepts.store import ConceptStore
from unictokens.tracking.address import sqlite_uri

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def job(
    toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str], int]:
    """A job over three concepts, one with a picture that is torn; (output, command, exit code)."""
    place = tmp_path_factory.mktemp("job")
    shutil.copytree(toyland, place / "data")
    photo = place / "data/concept/train/miru/0.png"
    photo.write_bytes(photo.read_bytes()[:300])
    command = ["train", "--data", str(place / "data"), "--concepts", "bo,miru,tavo", "--out", str(place / "out")]
    command += ["--config", "demo", "--backbone", str(tiny_base), "--set", *short_settings]
    return place / "out", command, main(command)


@pytest.mark.ray
def test_a_broken_concept_fails_alone_and_is_named(job: tuple[Path, list[str], int]) -> None:
    out, _, code = job
    assert code == 1
    rows = {row["concept"]: row for row in json.loads((out / "summary.json").read_text())["rows"]}
    assert [rows[name]["status"] for name in ("bo", "miru", "tavo")] == ["finished", "failed", "finished"]
    assert "0.png" in rows["miru"]["error"]
    assert ConceptStore(out / "store").names() == ("bo", "tavo")
    assert "0.png" in (out / "report.html").read_text()


@pytest.mark.ray
def test_one_parent_with_a_nested_run_per_concept_is_tracked(job: tuple[Path, list[str], int]) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    out, _, _ = job
    client = mlflow.MlflowClient(sqlite_uri(out))
    experiment = client.get_experiment_by_name("unictokens")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in runs if run is not parent)
    lanes = [run for run in runs if run.data.tags["kind"] == "lane"]
    assert lanes and all(run.info.status == "FINISHED" for run in lanes)
    assert all("system/process_memory_megabytes" in run.data.metrics for run in lanes)
    children = {run.data.tags["concept"]: run for run in runs if run.data.tags["kind"] == "concept"}
    assert {name: run.info.status for name, run in children.items()} == {
        "bo": "FINISHED",
        "miru": "FAILED",
        "tavo": "FINISHED",
    }
    assert parent.data.metrics["finished"] == 2 and parent.data.metrics["failed"] == 1
    bo = children["bo"]
    assert bo.data.params["layout.shared"] == "3"
    assert {"understanding_loss", "generation_loss", "total_loss"} <= bo.data.metrics.keys()
    assert [item.path for item in client.list_artifacts(bo.info.run_id, "model")] == ["model/concept.safetensors"]
    assert client.list_artifacts(bo.info.run_id, "images")


@pytest.mark.ray
def test_the_job_and_a_run_alone_publish_the_same_rows(
    job: tuple[Path, list[str], int], tiny_base: Path, short_settings: list[str], tmp_path: Path
) -> None:
    from unictokens.cli.main import main as alone

    out, command, _ = job
    train = ["train", "--data", command[2], "--concept", "bo", "--out", str(tmp_path), "--config", "demo"]
    assert alone([*train, "--backbone", str(tiny_base), "--device", "cpu", "--set", *short_settings]) == 0
    first, second = (ConceptStore(root / "store").get("bo").tokens for root in (out, tmp_path))
    difference = max(float((a - b).abs().max()) for a, b in zip(first.tensors(), second.tensors(), strict=True))
    assert difference < 1e-4  # the same up to the order in which threads add


@pytest.mark.ray
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
def test_a_lane_of_two_processes_publishes_the_same_rows(job: tuple[Path, list[str], int], tmp_path: Path) -> None:
    out, command, _ = job
    command = [str(tmp_path) if part == str(out) else part if part != "bo,miru,tavo" else "bo" for part in command]
    assert main([*command, "--engine", "deepspeed", "--processes", "2", "--offload", "cpu"]) == 0
    first, second = (ConceptStore(root / "store").get("bo").tokens for root in (out, tmp_path))
    difference = max(float((a - b).abs().max()) for a, b in zip(first.tensors(), second.tensors(), strict=True))
    assert difference < 1e-4


@pytest.mark.ray
def test_what_is_published_is_not_trained_again(
    job: tuple[Path, list[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, command, _ = job
    command = [part if part != "bo,miru,tavo" else "bo,tavo" for part in command]
    assert main(command) == 0
    assert "published before" in capsys.readouterr().out
    assert len(ConceptStore(out / "store").versions("bo")) == 1


def test_impossible_jobs_are_one_line(
    toyland: Path, tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(toyland), "--out", str(tmp_path / "out"), "--backbone", str(tiny_base)]
    for more, named in (
        (["--concepts", "bo,nobody"], "nobody"),
        (["--lanes", "-1"], "-1"),
        (["--pack", "0"], "--pack 0"),
        (["--engine", "magic"], "magic"),
        (["--offload", "tape"], "tape"),
        (["--offload", "cpu"], "--engine deepspeed"),
        (["--processes", "2"], "--engine deepspeed"),
        (["--engine", "deepspeed", "--offload", "nvme"], "--offload-path"),
        (["--engine", "deepspeed", "--offload", "nvme", "--offload-path", str(tmp_path / "no")], "no folder"),
        (["--host-cache", "1e6"], "this host's memory"),
        (["--set", "precision=fp8"], "precision"),
        (["--tracking-uri", "nonsense://x"], "nonsense://x"),
        (["--set", "stages.warmup.start_epoch=x"], "start_epoch"),
    ):
        assert main([*command, "--concepts", "bo", *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and named in line
    assert main(["tarin"]) == 2
