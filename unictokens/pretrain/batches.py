"""Batches built ahead of the training, in their order, by as many processes as a fast device needs."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unictokens.pretrain.lessons import Batch, Lessons

AHEAD = 4
"""Steps that each process builds ahead."""
Ready = TypeVar("Ready")


def changed(record: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A dataclass with `change` applied to its values of a kind, and to those of the dataclasses in it."""
    new = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, kind):
            new[field.name] = change(value)
        elif is_dataclass(value):
            new[field.name] = changed(value, kind, change)
    return replace(record, **new)


class _Steps(Dataset[tuple[Batch, ...]]):
    """The batches of each step as arrays: tensors would travel between processes as files in shared memory."""

    def __init__(self, lessons: Lessons) -> None:
        self.lessons = lessons

    def __getitem__(self, step: int) -> tuple[Batch, ...]:
        return tuple(changed(batch, Tensor, Tensor.numpy) for batch in self.lessons.batches(step))


def _as_it_is(batches: Any) -> Any:
    return batches


def batches(
    lessons: Lessons, first: int, last: int, processes: int, ready: Callable[[Batch], Ready]
) -> Iterator[tuple[Ready, ...]]:
    """The batches of steps first..last-1, each made `ready` in a thread, one step ahead.

    With more than one process, that many build them, forked at once: call this before a GPU is used. With one, the thread
    builds them itself. The batches are the same.
    """
    many = processes > 1
    loader = DataLoader(
        _Steps(lessons),
        batch_size=None,
        sampler=range(first, last),
        num_workers=processes if many else 0,
        prefetch_factor=AHEAD if many else None,
        multiprocessing_context="fork" if many else None,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # else the loader would take a number from the one the weights come from
    )
    return _made_ready(iter(loader), ready)


def _made_ready(source: Iterator[tuple[Batch, ...]], ready: Callable[[Batch], Ready]) -> Iterator[tuple[Ready, ...]]:
    def following() -> tuple[Ready, ...] | None:
        made = next(source, None)
        return None if made is None else tuple(ready(changed(batch, np.ndarray, torch.from_numpy)) for batch in made)

    with ThreadPoolExecutor(1) as executor:
        coming = executor.submit(following)
        while (made := coming.result()) is not None:
            coming = executor.submit(following)
            yield made
