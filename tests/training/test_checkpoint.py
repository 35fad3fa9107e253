"""Checkpoints: atomic, checksummed, few; a damaged one is set aside and the one before it used."""

import logging
from pathlib import Path

import pytest
import torch

from unictokens.errors import TrainingError
from unictokens.training.checkpoint import Checkpoint, Cursor, Identity, cursors, load_newest, save_checkpoint

MINE = Identity("bo", "config", "data", "weights")
STAGE_END = frozenset({(0, 3)})


def save(folder: Path, number: int, epoch: int) -> None:
    stage = ("warmup", "bootstrap")[number]
    tensors = {"rows.embed": torch.full((2, 3), float(10 * number + epoch))}
    save_checkpoint(folder, MINE, Checkpoint(Cursor(number, stage, epoch), tensors), STAGE_END)


def test_last_two_and_stage_ends_are_kept(tmp_path: Path) -> None:
    for number, epoch in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]:
        save(tmp_path, number, epoch)
    assert [(cursor.number, cursor.epoch) for cursor in cursors(tmp_path)] == [(0, 3), (1, 1), (1, 2)]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("harm", ["flip", "cut", "empty"])
def test_damaged_checkpoint_is_set_aside_and_the_one_before_used(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 0, 1)
    save(tmp_path, 0, 2)
    newest = tmp_path / "0-warmup-0002.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes({"flip": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}[harm])
    with caplog.at_level(logging.WARNING):
        found = load_newest(tmp_path, MINE)
    assert found is not None and found.cursor.epoch == 1
    assert found.tensors["rows.embed"][0, 0] == 1.0
    assert (tmp_path / "damaged-0-warmup-0002.safetensors").exists()
    assert "0-warmup-0002" in caplog.text


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 0, 1)
    with pytest.raises(TrainingError, match="another config_hash, backbone"):
        load_newest(tmp_path, Identity("bo", "other", "data", "other"))


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "absent", MINE) is None
