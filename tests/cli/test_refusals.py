"""Bad input on the command line: one line on stderr that names the value, exit code 2, no traceback, nothing written."""

import os
from pathlib import Path

import pytest

from unictokens.cli.main import COMMANDS, main

NAMES = ("../up", "a/b", "<bo>", "two words", "x" * 300)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command refuses."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ") and len(line) < 600
    return line


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names(name: str, toyland: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = name[:20]
    assert shown in refused(["ask", "--store", str(tmp_path), "--concept", name, "hi"], capsys)
    assert shown in refused(["train", "--data", str(toyland), "--concept", name, "--out", str(tmp_path / "o")], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["--set", "stages.deepen.optim.lrr=1"], "stages.deepen.optim.lrr"),
        (["--set", "stages.deepen.epochs=0"], "stages.deepen.epochs"),
        (["--set", "seed"], "seed"),
        (["--config", "papper"], "papper"),
        (["--backbone", "/nowhere/base"], "/nowhere/base"),
        (["--device", "tpu"], "tpu"),
        (["--set", "method=magic"], "magic"),
    ],
)
def test_wrong_settings(
    settings: list[str], named: str, toyland: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "--data", str(toyland), "--concept", "bo", "--out", str(tmp_path / "out"), *settings]
    assert named in refused(train, capsys)
    assert not (tmp_path / "out" / "runs").exists()


def test_a_data_folder_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone" in refused(["train", "--data", str(tmp_path / "gone"), "--concept", "bo"], capsys)
    assert "gone" in refused(["data", "check", str(tmp_path / "gone")], capsys)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    assert "full" in refused(["data", "toyland", str(tmp_path / "full")], capsys)


def test_an_output_that_cannot_be_written(
    toyland: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    train = ["train", "--data", str(toyland), "--concept", "bo", "--backbone", str(tiny_base), "--config", "demo"]
    assert "file" in refused([*train, "--out", str(blocked / "out")], capsys)


def test_an_unfinished_run_needs_resume(
    toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "--data", str(toyland), "--concept", "bo", "--backbone", str(tiny_base), "--config", "demo"]
    train += ["--out", str(tmp_path), "--device", "cpu", "--set", *short_settings]
    assert main([*train, "stages.deepen.optim.lr=1e30"]) == 2  # it ends by itself: the loss is not finite
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: ") and "not finite" in said[-1] and "deepen" in said[-1]
    assert "--resume" in refused([*train, "stages.deepen.optim.lr=1e30"], capsys)


def test_unknown_commands_and_missing_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert "paint" in refused(["paint"], capsys)
    for command in COMMANDS:
        if command not in ("config", "report", "concepts", "pretrain"):
            with pytest.raises(SystemExit) as caught:
                main([command])
            assert caught.value.code == 2
    assert main([]) == 2
    assert main(["--help"]) == 0


def test_wrong_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = ["draw", "--store", str(tmp_path), "--concept", "bo", "A photo of <bo>."]
    assert "--steps" in refused([*draw, "--out", "x.png", "--steps", "0"], capsys)
    assert "--guidance" in refused([*draw, "--out", "x.png", "--guidance", "nan"], capsys)
    assert "x.jpg" in refused([*draw, "--out", "x.jpg"], capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert "permission" in refused(["data", "toyland", str(tmp_path / "data"), "--concepts", "1"], capsys)
