"""The parity command passes on the recordings and notices a changed one."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from unictokens.errors import DataError
from unictokens.parity import run
from unictokens.parity.command import check_file
from unictokens.parity.vectors import Check, Vectors

FILES = ("phi_tiny", "magvit_small", "prompting", "mmu_text", "sampler")


@pytest.mark.parametrize("name", FILES)
def test_recorded_vectors_are_reproduced(
    name: str, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(shared_data / "parity" / f"{name}.safetensors", tmp_path)
    status = run(tmp_path, shared_data / "phi_tokenizer")
    lines = capsys.readouterr().out.splitlines()
    assert status == 0, [line for line in lines if not line.endswith("ok")]
    assert lines and all(line.startswith(f"{name}/") and line.endswith("ok") for line in lines)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("magvit_small", "decoded"),
        ("prompting", "mmu.short.labels"),
        ("mmu_text", "multi.labels"),
        ("sampler", "gen.multi_step7"),
    ],
)
def test_a_changed_number_fails(
    name: str, key: str, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with safe_open(shared_data / "parity" / f"{name}.safetensors", framework="pt") as file:
        tensors, metadata = {found: file.get_tensor(found).clone() for found in file.keys()}, file.metadata()  # noqa: SIM118
    tensors[key].view(-1)[-1] += 1
    save_file(tensors, tmp_path / f"{name}.safetensors", metadata)
    assert run(tmp_path, shared_data / "phi_tokenizer") == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if "FAIL" in line]
    assert any(line.startswith(f"{name}/{key}  ") for line in failed)


def test_unknown_tensors_are_not_left_out_silently(shared_data: Path) -> None:
    vectors = Vectors.read(shared_data / "parity" / "magvit_small.safetensors")
    more = Vectors(vectors.name, {**vectors.tensors, "novel": vectors.get("x")}, vectors.metadata)
    checks = check_file(more, None)
    assert [check for check in checks if not check.ok] == [
        Check(
            "magvit_small/novel", pytest.approx(float("nan"), nan_ok=True), False, "no check is known for this tensor"
        )
    ]


def test_a_files_tensors_say_what_it_is(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another name changes nothing; a file of no known kind fails."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    shutil.copytree(shared_data / "phi_tokenizer", tmp_path / "phi_tokenizer")
    shutil.copy(shared_data / "parity" / "prompting.safetensors", deep / "one.safetensors")
    shutil.copy(shared_data / "parity" / "magvit_small.safetensors", deep / "two.safetensors")
    assert run(deep) == 0
    save_file({"novel": torch.zeros(1)}, deep / "three.safetensors")
    capsys.readouterr()
    assert run(deep) == 1
    assert [line for line in capsys.readouterr().out.splitlines() if "FAIL" in line] == [
        "three  nan  FAIL (no known kind of vector file)"
    ]


def test_folder_without_vectors_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="vector"):
            run(folder)


def test_missing_tokenizer_is_named(shared_data: Path, tmp_path: Path) -> None:
    shutil.copy(shared_data / "parity" / "mmu_text.safetensors", tmp_path)
    with pytest.raises(DataError, match="--tokenizer"):
        run(tmp_path)


def test_damaged_vectors_are_named(tmp_path: Path) -> None:
    (tmp_path / "phi_tiny.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="phi_tiny"):
        run(tmp_path)
