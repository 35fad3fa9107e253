"""Promises of the epoch list: order, chance, reuse, and equality with the recording of the published code."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Generator, Tensor

from unictokens.backbones.showo.config import ShowOConfig
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.config import PRESETS, StageConfig
from unictokens.data.catalog import Catalog
from unictokens.data.epochs import (
    Choice,
    CodeCache,
    Sources,
    choice_view,
    draw_choices,
    materialise,
    spread,
    stage_sources,
)
from unictokens.errors import DataError

SIZE = 8


def sources(questions: int, drawings: int, picture: Path) -> Sources:
    return Sources(tuple((picture, ()) for _ in range(questions)), tuple((picture, ("a",)) for _ in range(drawings)))


def stage(**values) -> StageConfig:
    return replace(StageConfig(generation="photos", understanding="stage_1"), **values)


def pixels(image_BCHW: Tensor) -> Tensor:
    """In place of codes: the picture itself."""
    return ((image_BCHW + 1.0) * 127.5).round().to(torch.long).flatten(1)


@pytest.fixture
def picture(album: Path) -> Path:
    return album / "concept/train/bo/1.png"


def indices(choices: Sequence[Choice], kind: str) -> list[int]:
    return [choice.index for choice in choices if choice.kind == kind]


def test_questions_keep_their_order_and_drawings_are_shuffled_on_every_pass(picture: Path) -> None:
    some, config = sources(9, 4, picture), stage()
    choices = draw_choices(some, config, SIZE, Generator().manual_seed(0))
    epoch = materialise(some, config, SIZE, choices, CodeCache(pixels))
    assert len(epoch.steps) == 9 and indices(choices, "understanding") == list(range(9))
    drawn = indices(choices, "generation")
    assert sorted(drawn[:4]) == sorted(drawn[4:8]) == [0, 1, 2, 3] and drawn[:4] != drawn[4:8]
    assert all(len(step.understanding) == len(step.generation) == 1 for step in epoch.steps)


def test_the_shorter_side_begins_again_and_last_batches_are_smaller(picture: Path) -> None:
    some, config = sources(6, 7, picture), stage(understanding_batch=4, generation_batch=2)
    choices = draw_choices(some, config, SIZE, Generator().manual_seed(0))
    epoch = materialise(some, config, SIZE, choices, CodeCache(pixels))
    assert [len(step.understanding) for step in epoch.steps] == [4, 2, 4, 2]
    assert [len(step.generation) for step in epoch.steps] == [2, 2, 2, 1]
    assert indices(choices, "understanding") == [0, 1, 2, 3, 4, 5] * 2


def test_one_task_alone_makes_an_epoch(picture: Path) -> None:
    config = stage(understanding_batch=4)
    for some, steps in ((sources(6, 0, picture), 2), (sources(0, 3, picture), 3)):
        choices = draw_choices(some, config, SIZE, Generator().manual_seed(0))
        assert len(materialise(some, config, SIZE, choices, CodeCache(pixels)).steps) == steps
    with pytest.raises(DataError, match="neither"):
        draw_choices(sources(0, 0, picture), config, SIZE, Generator())


def test_the_same_seed_draws_the_same_epoch(picture: Path) -> None:
    some, config = sources(5, 3, picture), stage(flip=0.5, generation_zoom=1.5)
    drawn = [draw_choices(some, config, SIZE, Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_flip_is_the_probability_of_mirroring(picture: Path) -> None:
    for flip, low, high in ((0.0, 0, 0), (0.25, 200, 300), (1.0, 1000, 1000)):
        choices = draw_choices(sources(1000, 0, picture), stage(flip=flip), SIZE, Generator().manual_seed(0))
        assert low <= sum(choice.flip for choice in choices) <= high


def test_random_crops_lie_inside_and_reach_every_corner(picture: Path) -> None:
    some, config = sources(0, 200, picture), stage(generation_zoom=1.5)
    choices = draw_choices(some, config, SIZE, Generator().manual_seed(0))
    corners = {choice.corner for choice in choices}
    # The picture is 12x10: its short side becomes 12, its long side 14, the crop is 8.
    assert {corner[0] for corner in corners if corner} == set(range(5))
    assert {corner[1] for corner in corners if corner} == set(range(7))
    epoch = materialise(some, config, SIZE, choices, CodeCache(pixels))
    assert all(step.generation[0].codes_N.shape == (3 * SIZE * SIZE,) for step in epoch.steps)


def test_codes_are_computed_once_per_picture_and_view(picture: Path) -> None:
    calls: list[int] = []

    def encode(image: Tensor) -> Tensor:
        calls.append(len(image))
        return pixels(image)

    some, config, cache = sources(20, 0, picture), stage(flip=0.5), CodeCache(encode)
    choices = draw_choices(some, config, SIZE, Generator().manual_seed(0))
    first = materialise(some, config, SIZE, choices, cache)
    again = materialise(some, config, SIZE, choices, cache)
    assert calls == [1, 1]
    codes = {choice.flip: step.understanding[0].codes_N for choice, step in zip(choices, first.steps, strict=True)}
    assert not torch.equal(codes[True], codes[False])
    for one, two in zip(first.steps, again.steps, strict=True):
        assert torch.equal(one.understanding[0].codes_N, two.understanding[0].codes_N)


def test_a_full_cache_forgets_what_was_used_longest_ago_and_a_replaced_picture(album: Path) -> None:
    calls: list[int] = []

    def encode(image: Tensor) -> Tensor:
        calls.append(1)
        return pixels(image)

    cache, photos = CodeCache(encode, limit=2), [album / f"concept/train/bo/{at}.png" for at in range(3)]
    view = choice_view(Choice("understanding", 0), stage(), SIZE)
    for at in (0, 1, 0, 2, 0, 1):
        cache.codes(photos[at], view)
    assert len(calls) == 4
    before = cache.codes(photos[0], view)
    photos[0].write_bytes(photos[2].read_bytes() + b"\x00")
    assert not torch.equal(cache.codes(photos[0], view), before)


def test_a_limit_keeps_items_from_the_whole_file(dataset: Path) -> None:
    assert spread(10, 3) == (0, 3, 6) and spread(3, 10) == (0, 1, 2)
    record = Catalog.open(dataset).concept("bo")
    limited = stage_sources(record, stage(understanding_limit=2), TokenLayout())
    assert [picture.name for picture, _ in limited.understanding] == ["0.png", "1.png"]
    assert [picture.name for picture, _ in limited.generation] == ["0.png", "2.png"]


def test_choices_that_do_not_fit_are_refused(picture: Path) -> None:
    some, config, cache = sources(2, 0, picture), stage(), CodeCache(pixels)
    with pytest.raises(DataError, match="does not have"):
        materialise(some, config, SIZE, [Choice("understanding", 2)], cache)
    with pytest.raises(DataError, match="too few"):
        materialise(some, config, SIZE, [Choice("understanding", 0)], cache)


def test_an_unreadable_picture_is_named(dataset: Path) -> None:
    broken = dataset / "concept/train/bo/0.png"
    broken.write_bytes(broken.read_bytes()[:40])
    some = stage_sources(Catalog.open(dataset).concept("bo"), stage(), TokenLayout())
    with pytest.raises(DataError, match=r"0\.png' cannot be read"):
        choices = draw_choices(some, stage(), SIZE, Generator())
        materialise(some, stage(), SIZE, choices, CodeCache(pixels))


class Recording:
    """One stage of the published code's run: the choices it drew and what they led to."""

    def __init__(self, folder: Path, number: int) -> None:
        self.dataset = folder / "dataset"
        with safe_open(folder / f"stage{number}.safetensors", "pt") as file:
            self.values = {key: file.get_tensor(key) for key in file.keys() if not key.startswith(("step.", "rows."))}  # noqa: SIM118
        self.choices: list[Choice] = []
        self.pixels: list[Tensor] = []
        self.steps = 0
        while f"data.{self.steps + 1:03d}.mmu_index" in self.values:
            self.steps += 1
            for task, kind in (("mmu", "understanding"), ("t2i", "generation")):
                values = {
                    key: self.values.get(f"data.{self.steps:03d}.{task}_{key}")
                    for key in ("index", "flip", "crop", "pixels")
                }
                if values["index"] is None:
                    continue
                for at, index in enumerate(values["index"].tolist()):
                    crop = [-1, -1] if values["crop"] is None else values["crop"][at].tolist()
                    corner = None if crop[0] < 0 else (crop[0], crop[1])
                    self.choices.append(Choice(kind, index, bool(values["flip"][at]), corner))
                    self.pixels.append(values["pixels"][at])


@pytest.mark.parametrize(("number", "name"), [(1, "warmup"), (2, "bootstrap"), (3, "deepen")])
@pytest.mark.parametrize(("folder", "layout"), [("parity_train", (16, 8, 8)), ("parity_train_k4", (4, 2, 2))])
def test_recorded_choices_give_the_published_pixels_ids_and_labels(
    shared_data: Path, folder: str, layout: tuple[int, int, int], number: int, name: str
) -> None:
    recording = Recording(shared_data / folder, number)
    config: StageConfig = getattr(PRESETS["authors_code"].stages, name)
    rows = TokenLayout(shared=layout[0], generation=layout[1], understanding=layout[2])
    some = stage_sources(Catalog.open(recording.dataset).concept("bo"), config, rows)

    epoch = materialise(some, config, 128, recording.choices, CodeCache(pixels))
    assert len(epoch.steps) == recording.steps
    ours = [sample.codes_N for step in epoch.steps for sample in (*step.understanding, *step.generation)]
    for codes_N, expected in zip(ours, recording.pixels, strict=True):
        assert torch.equal(codes_N, expected.flatten().long())

    tokenizer = TextTokenizer.load(shared_data / "phi_tokenizer" / "tokenizer.json")
    vocabulary = Vocabulary.of(ShowOConfig(), tokenizer.eot, tokenizer.size)
    sequences = Sequences(vocabulary, tokenizer, 128)

    def published(ids: list[int]) -> list[int]:
        # The published code puts learned rows between text and image codes, we put them above all frozen ids.
        return [i - vocabulary.size + vocabulary.code_offset if i >= vocabulary.size else i for i in ids]

    for at, (_, turns) in enumerate(some.understanding):
        ids, labels = sequences.conversation([(turn.question, turn.answer) for turn in turns])
        missing = 128 - len(ids)
        assert published(ids) + [vocabulary.pad] * missing == recording.values["mmu.input_ids"][at].tolist()
        assert published(labels) + [IGNORE] * missing == recording.values["mmu.labels"][at].tolist()
    if some.generation:
        prompt = some.generation[0][1]
        assert published(sequences.text(prompt)) == recording.values["t2i.prompt_ids"].tolist()
    kept = [
        item.number for item in Catalog.open(recording.dataset).concept("bo").understanding(str(config.understanding))
    ]
    assert kept == recording.values["mmu.json_index"].tolist()
