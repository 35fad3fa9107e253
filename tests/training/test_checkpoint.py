"""Checkpoints: atomic, checksummed, few; a damaged one is set aside and the one before it used."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from unictokens.errors import StorageError, TrainingError
from unictokens.sealed import save_sealed, unseal
from unictokens.training.checkpoint import Checkpoint, Cursor, Identity, cursors, load_newest, save_checkpoint
from unictokens.training.history import EpochRecord, best_epoch
from unictokens.training.losses import StepLosses

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


LOSSES = (StepLosses(0.1 + 0.2, None, 1 / 3), StepLosses(None, 1e-17, 7.0), StepLosses(2.0, 3.0, 5e300))


def save_within(folder: Path, epoch: int, step: int) -> None:
    tensors = {"rows.embed": torch.full((2, 3), float(epoch) + step / 10)}
    steps = LOSSES[:step]
    save_checkpoint(folder, MINE, Checkpoint(Cursor(0, "warmup", epoch, step), tensors, steps, 1.5), STAGE_END)


def test_state_within_an_epoch_stands_beside_the_others_until_the_next_is_written(tmp_path: Path) -> None:
    def names() -> list[str]:
        return [cursor.file for cursor in cursors(tmp_path)]

    whole = ["0-warmup-0001.safetensors", "0-warmup-0002.safetensors"]
    for epoch in (0, 1, 2):
        save(tmp_path, 0, epoch)
    save_within(tmp_path, 2, 1)
    assert names() == [*whole, "0-warmup-0002_0001.safetensors"]
    assert names() == sorted(names()), "behind a URL, files are brought there in the order of their names"
    save_within(tmp_path, 2, 3)
    assert names() == [*whole, "0-warmup-0002_0003.safetensors"]
    found = load_newest(tmp_path, MINE)
    assert found is not None and found.cursor == Cursor(0, "warmup", 2, 3)
    assert (found.steps, found.seconds) == (LOSSES, 1.5), "every loss to its last bit"
    save(tmp_path, 0, 3)
    assert names() == [whole[1], "0-warmup-0003.safetensors"]
    found = load_newest(tmp_path, MINE)
    assert found is not None and (found.cursor.step, found.steps, found.seconds) == (0, (), 0.0)


def test_state_under_the_name_of_another_step_is_set_aside(tmp_path: Path) -> None:
    save(tmp_path, 0, 1)
    save_within(tmp_path, 1, 2)
    (tmp_path / "0-warmup-0001_0002.safetensors").rename(tmp_path / "0-warmup-0001_0003.safetensors")
    found = load_newest(tmp_path, MINE)
    assert found is not None and found.cursor == Cursor(0, "warmup", 1)


def test_checkpoints_from_before_there_were_steps_are_read(tmp_path: Path) -> None:
    about = {"identity": asdict(MINE), "cursor": {"number": 0, "stage": "warmup", "epoch": 1}}
    save_sealed(tmp_path / "0-warmup-0001.safetensors", {"rows.embed": torch.ones(2, 3)}, json.dumps(about))
    found = load_newest(tmp_path, MINE)
    assert found is not None and found.cursor == Cursor(0, "warmup", 1, 0) and found.steps == ()


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


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    tensors = {"rows.embed": torch.arange(6.0).view(2, 3), "rows.bias": torch.ones(2)}
    save_checkpoint(tmp_path, MINE, Checkpoint(Cursor(0, "warmup", 1), tensors), STAGE_END)
    data = (tmp_path / "0-warmup-0001.safetensors").read_bytes()
    meant, about = unseal(data, tmp_path, "checkpoint", "remove it")
    unnoticed = []
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            try:
                found, said = unseal(bytes(flipped), tmp_path, "checkpoint", "remove it")
            except StorageError as error:
                assert "\n" not in str(error)
                continue
            unnoticed.append(position)
            assert said == about and found.keys() == meant.keys()
            assert all(torch.equal(found[name], meant[name]) for name in meant)
    assert not unnoticed, f"harmless, but accepted: {sorted(set(unnoticed))}"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_every_truncation_is_found(tmp_path: Path, share: float) -> None:
    save(tmp_path, 0, 1)
    data = (tmp_path / "0-warmup-0001.safetensors").read_bytes()
    with pytest.raises(StorageError):
        unseal(data[: int(share * len(data))], tmp_path, "checkpoint", "remove it")


def test_the_best_epoch_is_that_of_the_lowest_loss_of_its_stage() -> None:
    def record(number: int, epoch: int, total: float) -> EpochRecord:
        return EpochRecord(number=number, stage="s", epoch=epoch, steps=1, losses={"total": total}, seconds=0.0)

    lived = [record(1, 1, 0.1), record(2, 1, 0.9), record(2, 2, 0.5), record(2, 3, 0.7), record(2, 4, 0.5)]
    assert best_epoch(lived, 2) == 2 and best_epoch(lived, 1) == 1 and best_epoch(lived, 0) is None


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 0, 1)
    with pytest.raises(TrainingError, match="another config_hash, backbone"):
        load_newest(tmp_path, Identity("bo", "other", "data", "other"))


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "absent", MINE) is None
