"""A disk that refuses at any point of a save or a publication: readers see the old state or the new one, and no rubbish."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unictokens.errors import StorageError
from unictokens.storage.base import open_storage
from unictokens.training.checkpoint import Checkpoint, Cursor, Identity, cursors, load_newest, save_checkpoint
from unictokens.training.losses import StepLosses

CALLS = ("fsync", "replace", "rename", "link")
MINE = Identity("bo", "config", "data", "weights")


class Disk:
    """Lets the `fail_at`-th of the calls that make something last fail, and all later ones."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.fail_at: int | None = None
        self.code = errno.ENOSPC
        for name in CALLS:
            patch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **options: Any) -> Any:
            self.calls += 1
            if self.fail_at is not None and self.calls >= self.fail_at:
                raise OSError(self.code, os.strerror(self.code))
            return call(*given, **options)

        return watched

    def start(self, fail_at: int | None, code: int = errno.ENOSPC) -> None:
        self.calls, self.fail_at, self.code = 0, fail_at, code


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def save(folder: Path, epoch: int, step: int = 0) -> None:
    tensors = {"rows.embed": torch.full((2, 3), float(epoch))}
    losses = (StepLosses(1.0, None, 1.0),) * step
    save_checkpoint(folder, MINE, Checkpoint(Cursor(0, "warmup", epoch, step), tensors, losses), frozenset())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS])
def test_a_refused_object_is_what_it_was(disk: Disk, tmp_path: Path, code: int) -> None:
    storage = open_storage(tmp_path)
    storage.write("a/b", b"old")
    for action, calls in ((lambda: storage.write("a/b", b"new"), 3), (lambda: storage.create("a/c", b"new"), 3)):
        for number in range(1, calls + 1):
            disk.start(number, code)
            with pytest.raises(StorageError) as caught:
                action()
            disk.start(None)
            assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
            assert storage.read("a/b") in (b"old", b"new") and storage.read("a/c") in (None, b"new")
            assert {path.name for path in (tmp_path / "a").iterdir()} <= {"b", "c"}
            storage.write("a/b", b"old")
            storage.remove("a/c")


@pytest.mark.parametrize(("before", "after"), [((3, 0), (4, 0)), ((3, 0), (3, 2)), ((3, 2), (3, 4)), ((3, 2), (4, 0))])
def test_wherever_a_save_fails_the_state_before_or_after_is_there(
    disk: Disk, tmp_path: Path, before: tuple[int, int], after: tuple[int, int]
) -> None:
    disk.start(None)
    save(tmp_path / "whole", 1)
    for number in range(1, disk.calls + 1):
        folder = tmp_path / str(number)
        disk.start(None)
        for epoch, step in ((1, 0), (2, 0), (3, 0), before):
            save(folder, epoch, step)
        disk.start(number)
        with pytest.raises(StorageError, match="disk is full"):
            save(folder, *after)
        disk.start(None)
        found = load_newest(folder, MINE)
        assert found is not None and (found.cursor.epoch, found.cursor.step) in (before, after)
        assert float(found.tensors["rows.embed"][0, 0]) == found.cursor.epoch
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
        save(folder, 5)  # once there is space again
        assert [cursor.epoch for cursor in cursors(folder)][-1] == 5
