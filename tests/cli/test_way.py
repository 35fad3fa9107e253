"""The way of a concept through the command line: learn, list, ask, draw, report, export and import."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from unictokens.cli.main import main
from unictokens.concepts.store import ConceptStore


@pytest.fixture(scope="module")
def out(toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder in which `bo` was learned."""
    folder = tmp_path_factory.mktemp("way") / "out"
    train = ["train", "--data", str(toyland), "--concept", "bo", "--out", str(folder), "--config", "demo"]
    train += ["--backbone", str(tiny_base), "--device", "cpu", "--set", *short_settings]
    assert main(train) == 0
    return folder


def arguments(out: Path, command: str, *more: str) -> list[str]:
    return [command, "--store", str(out / "store"), "--concept", "bo", "--device", "cpu", *more]


def test_training_publishes_the_concept_with_its_story(out: Path) -> None:
    bundle = ConceptStore(out / "store").get("bo")
    assert bundle.tokens.rows == 8
    (run,) = (out / "runs").iterdir()
    assert len((run / "history.jsonl").read_text().splitlines()) == 6
    assert {path.name.split("_")[0] for path in (run / "previews").iterdir()} == {"warmup", "bootstrap", "deepen"}
    assert (run / "events.jsonl").exists()


def test_what_is_published_is_not_trained_again(
    out: Path, toyland: Path, tiny_base: Path, short_settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["train", "--data", str(toyland), "--concept", "bo", "--out", str(out), "--config", "demo"]
    assert main([*again, "--backbone", str(tiny_base), "--device", "cpu", "--set", *short_settings]) == 0
    assert "bo@v1" in capsys.readouterr().out
    assert len(ConceptStore(out / "store").versions("bo")) == 1


def test_ask_answers_with_and_without_a_photo(out: Path, toyland: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = toyland / "concept/train/bo/0.png"
    assert main(arguments(out, "ask", "Is <bo> in the photo?", "--photo", str(photo), "--max-tokens", "4")) == 0
    assert main(arguments(out, "ask", "Where does <bo> live?", "--max-tokens", "4")) == 0
    assert capsys.readouterr().out


def test_same_seed_draws_same_bytes(out: Path, tmp_path: Path) -> None:
    draw = ("A photo of <bo>.", "--steps", "4")
    assert main(arguments(out, "draw", *draw, "--out", str(tmp_path / "a.png"), "--images", "2")) == 0
    assert main(arguments(out, "draw", *draw, "--out", str(tmp_path / "b.png"), "--seed", "1")) == 0
    assert Image.open(tmp_path / "a-0.png").size == (32, 32)
    assert (tmp_path / "a-1.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a-0.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_concepts_travel_in_the_authors_format(
    out: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["concepts", "--store", str(out / "store")]
    assert main([*store, "export", str(tmp_path / "files"), "--concept", "bo"]) == 0
    taken = ["import", str(tmp_path / "files"), "--concept", "bo_again", "--class-word", "dog", "--layout", "3/2/2"]
    assert main([*store, *taken, "--backbone", str(tiny_base)]) == 0
    first, second = (ConceptStore(out / "store").get(name) for name in ("bo", "bo_again"))
    assert all(torch.equal(a, b) for a, b in zip(first.tokens.tensors(), second.tokens.tensors(), strict=True))
    assert main([*store, "alias", "bo", "stable"]) == 0
    assert main(store) == 0
    listed = capsys.readouterr().out
    assert "bo_again" in listed and "stable=v1" in listed
    asked = [
        "ask",
        "--store",
        str(out / "store"),
        "--concept",
        "bo_again@v1",
        "--device",
        "cpu",
        "Hello",
        "--max-tokens",
        "2",
    ]
    assert main(asked) == 0
    assert main([*store, "delete", "bo_again@v1"]) == 0
    assert ConceptStore(out / "store").names() == ("bo",)


def test_report_tells_the_story(out: Path, toyland: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(out), "--data", str(toyland)]) == 0
    path = Path(capsys.readouterr().out.strip())
    text = path.read_text()
    assert text.count('src="data:image/') >= 10 and "<svg" in text and "bootstrap" in text


def test_printed_settings_are_a_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--preset", "demo", "--set", "seed=7", "--json"]) == 0
    (tmp_path / "mine.json").write_text(capsys.readouterr().out)
    assert main(["config", "--config", str(tmp_path / "mine.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 7
    assert main(["config", "--preset", "authors_code"]) == 0
    assert "stages.bootstrap.start_epoch=15" in capsys.readouterr().out


def test_check_names_every_broken_concept(toyland: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(toyland, data)
    assert main(["data", "check", str(data)]) == 0
    (data / "concept/train/bo/3.png").write_bytes((data / "concept/train/bo/3.png").read_bytes()[:200])
    (data / "concept/train/tavo/info.json").write_text("{")
    capsys.readouterr()
    assert main(["data", "check", str(data)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert "3.png" in said[0] and said[1].startswith("miru: ok") and "info.json" in said[2]


def test_an_evaluation_is_kept_and_scored_again_without_the_model(
    out: Path, toyland: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = [
        "--data",
        str(toyland),
        "--out",
        str(tmp_path),
        "--knowledge",
        "1",
        "--pure",
        "1",
        "--steps",
        "2",
        "--contenders",
        "tokens,text,real",
    ]
    assert main(arguments(out, "evaluate", *held)) in (0, 1)
    folder = tmp_path / "bo@v1-correct"
    first = json.loads((folder / "scores.json").read_text())
    assert first["tokens"]["rec"]["value"] is not None and first["text"]["knowledge score"]["count"] == 2
    assert len(list((folder / "tokens" / "images").iterdir())) == 25 + 2 + 4  # the dataset's prompts, facts, portraits
    assert first["tokens"]["clip-i"]["count"] == 25 and first["real"]["clip-i"]["count"] == 10
    assert first["text"]["dino"]["value"] is None and "--dino" in first["text"]["dino"]["why"]
    (folder / "scores.json").unlink()
    assert main(arguments(out, "evaluate", *held, "--rescore")) in (0, 1)
    assert json.loads((folder / "scores.json").read_text()) == first
    assert "rec" in capsys.readouterr().out


def test_impossible_evaluations_are_one_line(
    out: Path, toyland: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, named in (
        (["--contenders", "magic"], "contender 'magic'"),
        (["--judge", "oracle"], "judge 'oracle'"),
        (["--judge", "openai"], "--judge-url"),
        (["--rescore"], "does not exist"),
        (["--inversion", str(out / "store")], "learned by unictokens"),
        (["--clip", f"Magic-7={__file__}"], "Magic-7"),
        (["--prompts", str(tmp_path / "no.json")], "no.json"),
    ):
        command = arguments(out, "evaluate", "--data", str(toyland), "--out", str(tmp_path), *more)
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and named in line
