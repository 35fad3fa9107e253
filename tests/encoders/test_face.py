"""Faces: where models are looked for, and what is said when they are missing or damaged."""

from pathlib import Path

import pytest
from PIL import Image

from unictokens.encoders.face import InsightFace, model_folder, portrait_size
from unictokens.errors import CheckpointError, DependencyError


def test_the_published_archive_is_found_one_folder_deeper(tmp_path: Path) -> None:
    folder = tmp_path / "antelopev2"
    (folder / "antelopev2").mkdir(parents=True)
    assert model_folder(folder) == folder
    (folder / "antelopev2" / "glintr100.onnx").write_bytes(b"")
    assert model_folder(folder) == folder / "antelopev2"
    (folder / "glintr100.onnx").write_bytes(b"")
    assert model_folder(folder) == folder


def test_missing_and_damaged_models_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"no \.onnx files"):
        InsightFace(tmp_path / "antelopev2")
    pytest.importorskip("insightface")
    (tmp_path / "antelopev2").mkdir()
    (tmp_path / "antelopev2" / "scrfd_10g_bnkps.onnx").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="cannot be opened") as caught:
        InsightFace(tmp_path / "antelopev2")
    assert "\n" not in str(caught.value)


def test_portraits_get_the_published_size() -> None:
    assert portrait_size(Image.new("RGB", (64, 64))).size == (1280, 1280)
    assert portrait_size(Image.new("RGB", (640, 480))).size == (1280, 960)
