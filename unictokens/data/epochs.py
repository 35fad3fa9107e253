"""The list of steps that every epoch of a stage repeats: which pictures, mirrored or cropped how, in which order.

The published code draws order, flips and crops once, before the first epoch, and then repeats the same list (its facts call
it "materialised"). So do we; what was drawn is a tuple of `Choice`, which can be recorded and replayed. Understanding
items come in file order, drawings shuffled anew on every pass; an epoch is as long as the longer of the two, the shorter
begins again (with new flips, crops and order) until then; the last batch of a pass may be smaller.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Generator, Tensor

from unictokens.backbones.base import GenerationSample, Turn, UnderstandingSample
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import Prompt
from unictokens.config import StageConfig
from unictokens.data.records import ConceptRecord
from unictokens.data.samples import dialogue_turns, generation_prompt
from unictokens.errors import DataError
from unictokens.images import View, load_image, resized_size, to_tensor, view_image

Task = Literal["understanding", "generation"]
CACHED_VIEWS = 16_384
"""Pictures whose codes are kept: 128 MiB at 1,024 codes each."""


@dataclass(frozen=True)
class Choice:
    """What was drawn for one sample: `index` counts the task's source items, `corner` is (top, left) of a random crop."""

    kind: Task
    index: int
    flip: bool = False
    corner: tuple[int, int] | None = None


@dataclass(frozen=True)
class Sources:
    """All that a stage may look at: pictures with their turns, and pictures to draw, each with its prompt."""

    understanding: tuple[tuple[Path, tuple[Turn, ...]], ...]
    generation: tuple[tuple[Path, Prompt], ...]


@dataclass(frozen=True, eq=False)
class Step:
    """The samples of one training step."""

    understanding: tuple[UnderstandingSample, ...]
    generation: tuple[GenerationSample, ...]


@dataclass(frozen=True, eq=False)
class Epoch:
    """The steps of one epoch, the same for every epoch of a stage, and the choices that made them."""

    steps: tuple[Step, ...]
    choices: tuple[Choice, ...]


class CodeCache:
    """Codes of pictures, each computed once per view; the least recently used are forgotten.

    Pictures are encoded one at a time, so that codes never depend on what else was asked for.
    `encode` maps float32 [1, 3, size, size] in [-1, 1] to int64 [1, N].
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], limit: int = CACHED_VIEWS) -> None:
        self._encode = encode
        self._limit = limit
        self._known: OrderedDict[tuple[Path, int, int, View], Tensor] = OrderedDict()

    def codes(self, picture: Path, view: View) -> Tensor:
        """Codes int64 [N] on the CPU. Raises DataError for an unreadable picture."""
        key = (*_identity(picture), view)
        if key not in self._known:
            image = to_tensor(view_image(load_image(picture), view))
            self._known[key] = self._encode(image[None])[0].to("cpu", torch.long)
        self._known.move_to_end(key)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return self._known[key]


def stage_sources(record: ConceptRecord, stage: StageConfig, layout: TokenLayout) -> Sources:
    """What a stage learns from. Raises DataError when the dataset lacks it."""
    understanding = []
    if stage.understanding is not None:
        items = record.understanding(stage.understanding)
        kept = spread(len(items), stage.understanding_limit) if stage.understanding_limit else range(len(items))
        for item in (items[at] for at in kept):
            if item.image is None:
                raise DataError(f"{item.file}: item {item.number} has no picture: give it one or the black placeholder")
            understanding.append((item.image, dialogue_turns(record, layout, stage.introduction, item)))
        if not understanding:
            raise DataError(f"concept '{record.name}' has no {stage.understanding} items with a picture: add some")
    generation = []
    if stage.generation is not None:
        prompt = generation_prompt(layout, stage.subject)
        generation = [(picture, prompt) for picture in record.drawings(stage.generation)]
    return Sources(tuple(understanding), tuple(generation))


def spread(count: int, limit: int) -> tuple[int, ...]:
    """At most `limit` of `count` indices, evenly spread: files are often sorted by kind of question."""
    if limit >= count:
        return tuple(range(count))
    return tuple(at * count // limit for at in range(limit))


def draw_choices(sources: Sources, stage: StageConfig, image_size: int, generator: Generator) -> tuple[Choice, ...]:
    """Draw an epoch: per step the understanding choices, then the generation choices.

    Raises DataError for a picture that cannot be read (its size decides where a random crop may lie).
    """
    steps = _steps(sources, stage)
    understanding: list[Choice] = []
    while sources.understanding and len(understanding) < _needed(len(sources.understanding), _batches(stage)[0], steps):
        understanding += [
            Choice("understanding", index, _chance(stage.flip, generator))
            for index in range(len(sources.understanding))
        ]
    generation: list[Choice] = []
    while sources.generation and len(generation) < _needed(len(sources.generation), _batches(stage)[1], steps):
        for index in torch.randperm(len(sources.generation), generator=generator).tolist():
            corner = _corner(sources.generation[index][0], stage, image_size, generator)
            generation.append(Choice("generation", index, _chance(stage.flip, generator), corner))
    ordered: list[Choice] = []
    for first, second in zip(
        _cut(understanding, len(sources.understanding), _batches(stage)[0], steps),
        _cut(generation, len(sources.generation), _batches(stage)[1], steps),
        strict=True,
    ):
        ordered += [*first, *second]
    return tuple(ordered)


def materialise(
    sources: Sources, stage: StageConfig, image_size: int, choices: Sequence[Choice], cache: CodeCache
) -> Epoch:
    """The steps that `choices` (drawn or recorded) describe; their order between the two kinds does not matter.

    Raises DataError for choices that do not fit the sources, and for unreadable pictures.
    """
    steps = _steps(sources, stage)
    by_kind: dict[Task, list[Choice]] = {"understanding": [], "generation": []}
    for choice in choices:
        if not 0 <= choice.index < len(sources.understanding if choice.kind == "understanding" else sources.generation):
            raise DataError(f"choice {choice} names an item that the stage does not have: record the choices again")
        by_kind[choice.kind].append(choice)
    batches = _batches(stage)
    made = []
    for first, second in zip(
        _cut(by_kind["understanding"], len(sources.understanding), batches[0], steps),
        _cut(by_kind["generation"], len(sources.generation), batches[1], steps),
        strict=True,
    ):
        understanding = tuple(
            UnderstandingSample(cache.codes(picture, choice_view(choice, stage, image_size)), turns)
            for choice in first
            for picture, turns in (sources.understanding[choice.index],)
        )
        generation = tuple(
            GenerationSample(cache.codes(picture, choice_view(choice, stage, image_size)), prompt)
            for choice in second
            for picture, prompt in (sources.generation[choice.index],)
        )
        made.append(Step(understanding, generation))
    return Epoch(tuple(made), tuple(choices))


def choice_view(choice: Choice, stage: StageConfig, image_size: int) -> View:
    """How a choice looks at its picture: centre crop, or a random crop of the enlarged picture (published augmentation)."""
    if choice.corner is None:
        return View(image_size, image_size, flip=choice.flip)
    return View(int(stage.generation_zoom * image_size), image_size, choice.corner, choice.flip)


def _steps(sources: Sources, stage: StageConfig) -> int:
    counts = (len(sources.understanding), len(sources.generation))
    steps = max(math.ceil(count / batch) for count, batch in zip(counts, _batches(stage), strict=True))
    if steps == 0:
        raise DataError("the stage has neither questions nor pictures to draw: set its understanding or generation")
    return steps


def _batches(stage: StageConfig) -> tuple[int, int]:
    return stage.understanding_batch, stage.generation_batch


def _needed(count: int, batch: int, steps: int) -> int:
    """Samples in `steps` batches of a loader that starts again when it is through."""
    whole, rest = divmod(steps, math.ceil(count / batch))
    return whole * count + min(rest * batch, count)


def _cut(choices: Sequence[Choice], count: int, batch: int, steps: int) -> list[Sequence[Choice]]:
    """One batch per step; a pass over `count` items ends with a smaller batch if they do not divide evenly."""
    if count == 0:
        return [()] * steps
    if len(choices) < _needed(count, batch, steps):
        raise DataError(f"{len(choices)} choices are too few for {steps} steps: record the choices again")
    cut: list[Sequence[Choice]] = []
    at = 0
    for step in range(steps):
        taken = min(batch, count - step % math.ceil(count / batch) * batch)
        cut.append(choices[at : at + taken])
        at += taken
    return cut


def _chance(probability: float, generator: Generator) -> bool:
    return bool(torch.rand(1, generator=generator).item() < probability)


def _corner(picture: Path, stage: StageConfig, image_size: int, generator: Generator) -> tuple[int, int] | None:
    if stage.generation_zoom == 1.0:
        return None
    zoomed = View(int(stage.generation_zoom * image_size), image_size)
    width, height = resized_size(load_image(picture).size, zoomed)
    top, left = (
        int(torch.randint(0, side - image_size + 1, (1,), generator=generator).item()) for side in (height, width)
    )
    return top, left


def _identity(picture: Path) -> tuple[Path, int, int]:
    # Size and time are part of the key: a picture that was replaced is encoded anew.
    try:
        status = picture.stat()
    except OSError as error:
        raise DataError(
            f"image '{picture}' cannot be read ({error.strerror}): add it or correct the dataset"
        ) from error
    return picture, status.st_size, status.st_mtime_ns
