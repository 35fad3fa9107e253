"""Reproduced tables: their data are consistent, and the whole way from runs to the page goes on where it was interrupted."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from cluster.__main__ import main
from cluster.engines import EngineSettings
from cluster.reproduction.collect import Sheet, pictures_of
from cluster.reproduction.examiner import Examiner, ExaminerSettings
from cluster.reproduction.table import Table
from cluster.reproduction.tables import TABLES
from cluster.reproduction.tasks import ExamTask, Looks, Place, tasks_of
from unictokens.config import PRESETS, config_hash, load_config, override, parse_settings
from unictokens.data.catalog import Catalog
from unictokens.errors import StorageError
from unictokens.evaluation.exam import ExamSettings
from unictokens.learn import Output, plan_run
from unictokens.lookup import resolve
from unictokens.methods.base import METHODS, Method
from unictokens.report.findings import load_findings
from unictokens.report.reproduction import write_page
from unictokens.tracking.address import sqlite_uri

TABLE_LIST = list(TABLES.values())


@pytest.mark.parametrize("table", TABLE_LIST, ids=list(TABLES))
@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_setting_of_a_table_passes_the_door(table: Table, preset: str) -> None:
    for variant in table.variants:
        config = variant.config(PRESETS[preset], seed=2)
        method: Method = resolve(METHODS, config.method, "method")()
        stages = [stage.name for stage in method.stages(config)]
        assert config.seed == 2
        for column in table.columns:
            assert table.stage_of(variant, column) in ("", *stages)


@pytest.mark.parametrize("table", TABLE_LIST, ids=list(TABLES))
def test_claims_plots_and_paper_numbers_name_what_the_table_has(table: Table) -> None:
    names, labels = [variant.name for variant in table.variants], table.labels
    assert len(set(names)) == len(names) and len(set(labels)) == len(labels)
    for claim in table.claims:
        assert claim.text
        for variant, column in claim.places:
            assert variant in names and column in labels, f"{claim.text}: {variant}, {column}"
    assert set(table.plot.columns) <= set(labels)
    for variant in table.variants:
        assert set(variant.paper) <= set(labels)
        assert all(0 <= number <= 1 for number in variant.paper.values())


def test_paper_numbers_are_those_of_its_tables(shared_data: Path) -> None:
    folder = shared_data.parent / "facts" / "paper_tables"
    if not folder.is_dir():
        pytest.skip("the paper's tables are not on this machine")
    for name, column_of in (
        ("unictokens_token_length", {"rec": "rec", "clip_i": "clip-i", "clip_t": "clip-t"}),
        ("unictokens_table3_stages", {"rec": "rec", "vqa_gpt": "vqa score", "dino": "dino", "face_simi": "face"}),
        ("unictokens_table3_init", {"rec": "rec", "vqa_score": "vqa score", "qa_score": "qa score"}),
    ):
        head, *lines = (folder / f"{name}.csv").read_text().splitlines()
        keys = head.split(",")
        printed = [dict(zip(keys, line.split(","), strict=True)) for line in lines]
        table = {"unictokens_token_length": "tokens", "unictokens_table3_stages": "stages"}.get(name, "init")
        ours = [variant.paper for variant in TABLES[table].variants if variant.paper and variant.trained]
        assert len(ours) == len(printed)
        for paper, row in zip(ours, printed, strict=True):
            assert {column: float(row[key]) for key, column in column_of.items()}.items() <= dict(paper).items()


def test_equal_rows_and_examinations_are_made_once_for_all_tables(toyland: Path, tmp_path: Path) -> None:
    record, config = Catalog.open(toyland).concept("bo"), PRESETS["demo"]
    folders = {}
    for name in ("stages", "tokens", "understanding-to-generation"):
        table = TABLES[name]
        plans = {
            (each.name, "bo", 0): plan_run(record, each.config(config, 0)) for each in table.variants if each.trained
        }
        tasks = tasks_of(table, plans, ["bo"], [0], config, {"bo": ("a <sks>",)}, Output(tmp_path), Looks())
        folders[name] = {(place.variant, place.stage): task.folder for place, task in tasks.items()}
    assert folders["stages"]["stage 3", ""] == folders["tokens"]["32 tokens", ""]
    assert (
        folders["stages"]["stage 2", "bootstrap"]
        == folders["understanding-to-generation"]["whole warm-up", "bootstrap"]
    )
    assert folders["stages"]["no concept", ""] == folders["tokens"]["no concept", ""]
    assert len(set(folders["stages"].values())) == len(TABLES["stages"].variants)


def test_examinations_that_show_no_drawings_draw_none() -> None:
    table = TABLES["understanding-to-generation"]
    first = table.exam_of(table.variants[0], "warmup")
    second = table.exam_of(table.variants[0], "bootstrap")
    assert isinstance(first, ExamSettings) and isinstance(second, ExamSettings)
    assert first.pure == first.knowledge == first.portraits == 0 and second.knowledge > 0


ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def reproduced(
    toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str], int]:
    """A small table of three concepts, one with a torn picture, made in two goes; (output, command, exit code)."""
    place = tmp_path_factory.mktemp("reproduce")
    shutil.copytree(toyland, place / "data")
    photo = place / "data/concept/train/miru/0.png"
    photo.write_bytes(photo.read_bytes()[:300])
    command = [
        "reproduce",
        "--table",
        "init",
        "--data",
        str(place / "data"),
        "--seeds",
        "1",
        "--out",
        str(place / "out"),
    ]
    command += ["--backbone", str(tiny_base), "--set", *short_settings]
    return place / "out", command, main(command)


def examinations(table: Table, command: list[str], base: Path, looks: Looks) -> tuple[dict[Place, ExamTask], Examiner]:
    """The examinations of `bo` after `command`, and somebody to hold them in this process; inverted rows it did not learn."""
    data, out = Path(command[4]), Path(command[8])
    record, output = Catalog.open(data).concept("bo"), Output(out)
    config = load_config("demo", {**parse_settings(command[command.index("--set") + 1 :]), "backbone": str(base)})
    config = override(config, {"preview.every": 0})
    plans = {
        (each.name, "bo", 0): plan_run(record, each.config(config, 0))
        for each in table.variants
        if each.trained and "method" not in each.changed
    }
    tasks = tasks_of(table, plans, ["bo"], [0], config, {"bo": ("a <sks> in the snow",)}, output, looks)
    engine = EngineSettings.of(config)
    return tasks, Examiner(ExaminerSettings(data=data, output=out, engine=engine, count=1, cpus=1, gpus=0))


@ray
@pytest.mark.ray
def test_a_table_has_all_variants_and_a_broken_concept_is_a_hole(reproduced: tuple[Path, list[str], int]) -> None:
    out, _, code = reproduced
    assert code == 1
    found = load_findings(out / "tables/init")
    assert [line.name for line in found.lines] == [variant.name for variant in TABLES["init"].variants]
    for line in found.lines:
        assert line.cells["rec"].mean is not None and line.cells["rec"].concepts == (3 if "concept" in line.name else 2)
        assert "miru" not in found.values[line.name]["rec"] or line.name == "no concept"
        assert line.name == "no concept" or any("0.png" in hole for hole in line.holes)
    assert all(finding.holds is not None or "interval" in finding.said for finding in found.findings)
    text = (out / "tables/init/table.md").read_text()
    assert "| perception |" in text and "0.79" in text and "0.png" in text
    assert (out / "tables/init/table.csv").read_text().count("\n") == 1 + 8 * 6
    assert (out / "tables/init/plot.png").stat().st_size > 10_000
    page = (out / "reproduction.html").read_text()
    assert "data:image/png;base64," in page and "0.png" in page and "http" not in page.replace("http-equiv", "")


@ray
@pytest.mark.ray
def test_stages_that_variants_share_are_trained_once(reproduced: tuple[Path, list[str], int]) -> None:
    out, _, _ = reproduced
    log = "".join(path.read_text() for path in (out / "logs").glob("*.log"))
    assert log.count("begins after bootstrap of") == 2 * 5
    files = sorted((out / "runs").glob("bo-*/checkpoints/1-bootstrap-0002.safetensors"))
    assert len(files) == 6


@ray
@pytest.mark.ray
def test_an_interrupted_table_ends_the_same(
    reproduced: tuple[Path, list[str], int], tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, command, _ = reproduced
    before = load_findings(out / "tables/init").values
    tasks, examiner = examinations(TABLES["init"], command, tiny_base, Looks())
    torn, gone = tasks[Place("stage 1", "warmup", "bo", 0)], tasks[Place("perception", "", "bo", 0)]
    assert torn.done and gone.done
    (torn.folder / "done.json").unlink()
    answers = (torn.folder / "answers.jsonl").read_text().splitlines()
    (torn.folder / "answers.jsonl").write_text("\n".join([*answers[:5], answers[5][:20]]))
    shutil.rmtree(gone.folder)
    shutil.copytree(out / "tables", out / "kept")
    again = [*command, "--concepts", "bo", "--tracking-uri", "off"]
    found = Sheet(TABLES["init"], tasks, {}, {}).findings(["bo"], {})
    assert {line.name for line in found.lines if line.holes} == {"stage 1", "perception"}
    assert [examiner.sit(task) for task in (torn, gone)] == ["", ""]
    assert main(again) == 0
    assert "to do: 0 runs, 0 examinations" in " ".join(capsys.readouterr().out.split())
    after = load_findings(out / "tables/init").values
    assert after == {
        variant: {column: {"bo": found["bo"]} for column, found in columns.items()}
        for variant, columns in before.items()
    }
    shutil.rmtree(out / "tables")
    (out / "kept").rename(out / "tables")


@ray
@pytest.mark.ray
def test_the_table_is_the_parent_of_its_job_in_tracking(reproduced: tuple[Path, list[str], int]) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    out, _, _ = reproduced
    client = mlflow.MlflowClient(sqlite_uri(out))
    runs = client.search_runs([client.get_experiment_by_name("unictokens").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    (job,) = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    tracked = [run for run in runs if run.data.tags["kind"] != "lane"]
    assert len(tracked) == 2 + 6 * 3, "six runs of each concept: 'stage 1' is a stage of 'perception'"
    assert 0 <= parent.data.metrics["perception/rec"] <= 1
    assert {"table.json", "table.md", "plot.png"} <= {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert (job.data.metrics["finished"], job.data.metrics["failed"]) == (12, 6)


@ray
@pytest.mark.ray
def test_rows_of_every_stage_draw_and_controls_need_none(
    reproduced: tuple[Path, list[str], int], tiny_base: Path
) -> None:
    out, command, _ = reproduced
    table = replace(TABLES["stages"], exam=ExamSettings(max_tokens=4, pure=1, knowledge=1, portraits=1, steps=2))
    tasks, examiner = examinations(table, command, tiny_base, Looks(clip=None))
    assert not any(task.held for task in tasks.values())
    assert {examiner.sit(task) for task in tasks.values()} == {""}
    assert all(task.held and task.done for task in tasks.values())
    found = Sheet(table, tasks, {}, {}).findings(["bo"], {})
    lines = {line.name: line for line in found.lines}
    for name in ("no concept", "stage 1", "stage 2", "stage 3"):
        assert lines[name].cells["knowledge score"].mean is not None and lines[name].cells["clip-i"].mean is None
        assert "none" in lines[name].cells["clip-i"].why
    assert lines["stage 2 without 1"].cells["rec"].mean is None and lines["real photos"].cells["rec"].mean is None
    pictures = pictures_of(Sheet(table, tasks, {}, {}), ["bo"], 1)
    assert {variant for variant, _ in pictures} == {"no concept", "text prompt", "stage 1", "stage 2", "stage 3"}
    broken = replace(tasks[Place("stage 3", "", "bo", 0)], folder=out / "exams" / "broken", stage="magic")
    assert "no stage 'magic'" in examiner.sit(broken) and not broken.held


def test_impossible_tables_are_one_line(toyland: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "--data", str(toyland), "--out", str(tmp_path / "out")]
    for more, named in (
        (["--table", "nine"], "stages, init"),
        (["--table", "init", "--seeds", "0"], "--seeds 0"),
        (["--table", "init", "--concepts", "nobody"], "nobody"),
        (["--table", "init", "--pack", "0"], "--pack"),
        (["--table", "init", "--set", "stages.deepen.magic=1"], "magic"),
    ):
        assert main([*command, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and named in line


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"table": 3}')
    with pytest.raises(StorageError, match=r"table\.json"):
        load_findings(tmp_path)
    with pytest.raises(StorageError, match="no reproduced tables"):
        write_page(tmp_path)


def test_a_run_of_a_table_is_the_run_of_a_plain_job(toyland: Path) -> None:
    record, config = Catalog.open(toyland).concept("bo"), PRESETS["demo"]
    (stage_3,) = [variant for variant in TABLES["stages"].variants if variant.name == "stage 3"]
    assert config_hash(stage_3.config(config, 0)) == config_hash(config)
    assert plan_run(record, stage_3.config(config, 0)).name == plan_run(record, config).name
