"""Similarity: hand-computed cases, a perfect and a worst pupil, the published quirks, and scores from the files alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.errors import DataError
from unictokens.evaluation.manifest import ALL, Header, Manifest
from unictokens.evaluation.score import Scores
from unictokens.evaluation.similarity import (
    COLUMNS,
    Encoders,
    look,
    open_encoders,
    photo_cosines,
    said_by,
    similarity_scores,
    washed_out,
)


class Eye:
    """Sees the mean colour of a picture, in texts the word of a colour; counts what it is shown."""

    name = "eye@1"

    def __init__(self) -> None:
        self.seen = 0
        self.read: list[str] = []

    def pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        self.seen += len(pictures)
        means = [np.asarray(picture, dtype=np.float32).mean(axis=(0, 1)) for picture in pictures]
        return functional.normalize(torch.tensor(np.stack(means)), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        self.read += texts
        return torch.tensor([[1.0, 0.0, 0.0] if "red" in text else [0.0, 1.0, 0.0] for text in texts])


class Faces:
    """Red pictures show one person, green ones another, all else shows nobody."""

    name = "faces@1"

    def embed(self, pictures: Sequence[Image.Image]) -> Tensor:
        raise AssertionError("the metric asks for faces")

    def faces(self, pictures: Sequence[Image.Image]) -> list[Tensor | None]:
        colours = [picture.getpixel((0, 0)) for picture in pictures]
        known: dict[Any, Tensor] = {RED: torch.tensor([1.0, 0.0]), GREEN: torch.tensor([0.0, 1.0])}
        return [known.get(colour) for colour in colours]


RED, GREEN, GREY = (255, 0, 0), (0, 255, 0), (128, 128, 128)
Maker = Callable[..., Manifest]


@pytest.fixture
def record(toyland: Path, tmp_path: Path) -> ConceptRecord:
    """A person with three training photos: red, red, green."""
    photos = []
    for number, colour in enumerate((RED, RED, GREEN)):
        photos.append(tmp_path / "data" / f"{number}.png")
        photos[-1].parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(photos[-1])
    return replace(Catalog.open(toyland).concept("miru"), root=tmp_path / "data", photos=tuple(photos))


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    def manifest(drawn: Sequence[tuple[Any, str, tuple[int, int, int]]], **changed: Any) -> Manifest:
        values: dict[str, Any] = {"contender": "tokens", "concept": "miru", "version": 1, "backbone": "tiny"}
        values |= {"fingerprint": "0", "dataset_digest": "1", "mode": "correct", "library": "0", **changed}
        made = Manifest.begin(tmp_path / "-".join(map(str, changed.values())) / "exam", Header(**values))
        for seed, (group, prompt, colour) in enumerate(drawn):
            made.add_drawing(group, prompt, seed, Image.new("RGB", (8, 8), colour))
        return made

    return manifest


def measured(manifest: Manifest, record: ConceptRecord, **changed: Any) -> Scores:
    encoders: dict[str, Any] = {"clip": Eye(), "dino": "no --dino was given", "face": Faces()}
    look({"x": manifest}, record, Encoders(**{**encoders, **changed}), "2026-01-01")
    return similarity_scores(manifest)


def test_scores_are_the_hand_computed_means(record: ConceptRecord, make: Maker) -> None:
    drawn = [("pure", "a red <miru>", RED), ("pure", "a green <miru>", GREEN), ("knowledge", "k", GREEN)]
    drawn += [("portrait", "p", RED), ("portrait", "p", GREY), ("portrait", "p", GREEN), ("portrait", "p", GREY)]
    found = measured(make(drawn), record)
    # Two references are red, one is green: a red drawing is 2/3 alike, a green one 1/3.
    assert found["clip-i"].value == pytest.approx((2 / 3 + 1 / 3) / 2) and found["clip-i"].count == 2
    assert found["clip-t"].value == pytest.approx(1.0)
    assert found["knowledge clip-i"].value == pytest.approx(1 / 3)
    assert found["face"].value == pytest.approx(1 / 2) and found["face"].count == 2
    assert found["face found"].value == pytest.approx(1 / 2) and found["face found"].count == 4
    assert found["face zero-filled"].value == pytest.approx(1 / 4)
    assert found["dino"].value is None and found["dino"].why == "no --dino was given"


def test_the_perfect_pupil_gets_one_and_the_worst_nothing(record: ConceptRecord, make: Maker) -> None:
    red = replace(record, photos=record.photos[:2])
    perfect = measured(make([("pure", "a red <miru>", RED), ("portrait", "p", RED)], version=2), red)
    worst = measured(make([("pure", "a red <miru>", GREEN), ("portrait", "p", GREEN)], version=3), red)
    for column in ("clip-i", "clip-t", "face", "face zero-filled"):
        assert (perfect[column].value, worst[column].value) == (pytest.approx(1.0), pytest.approx(0.0))


def test_real_photos_are_compared_with_the_others_and_as_published_with_themselves(
    record: ConceptRecord, make: Maker
) -> None:
    found = measured(make([], contender="real"), record, dino=Eye())
    # Red with red and green: 1/2 twice; green with two reds: 0.
    for column in ("clip-i", "dino", "face"):
        assert found[column].value == pytest.approx(1 / 3) and found[column].count == 3
    assert found["clip-t"].value is None and "no prompt" in found["clip-t"].why
    published = measured(make([], contender="real", mode="paper_compat"), record, dino=Eye())
    assert published["dino"].value == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)
    one = measured(make([], contender="real", version=4), replace(record, photos=record.photos[:1]))
    assert one["clip-i"].value is None and one["clip-i"].why == "there is no other photo"


def test_a_photo_is_compared_with_each_other_once() -> None:
    photos = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    assert photo_cosines(photos, include_self=False) == pytest.approx([0.3, 0.7, 0.4])
    assert photo_cosines(photos, include_self=True) == pytest.approx([1.6 / 3, 0.8, 0.6])
    assert photo_cosines(photos[:1], include_self=False) == [None]


def test_paper_compat_shows_clip_washed_out_pictures(record: ConceptRecord, make: Maker) -> None:
    assert washed_out(Image.new("RGB", (100, 60), (0, 255, 101))).size == (512, 512)
    assert washed_out(Image.new("RGB", (100, 60), (0, 255, 101))).getpixel((5, 5)) == (128, 255, 178)
    found = measured(make([("pure", "a red <miru>", GREEN)], mode="paper_compat"), record)
    red, green = np.array([255, 127.5, 127.5]), np.array([127.5, 255, 127.5])
    between = float(red @ green / (red @ red))
    assert found["clip-i"].value == pytest.approx((2 * between + 1) / 3, abs=2e-3)
    assert found["clip-i"].value > 0.8  # what correct mode calls 1/3


def test_clip_t_says_the_class_for_the_name(record: ConceptRecord) -> None:
    assert record.cls == "man"
    for prompt, correct, published in (
        ("a red <miru> in the snow", "a red man in the snow", "a red man in the snow"),
        ("a <miru> in the snow", "a man in the snow", "a man in the snow"),
        ("A photo of <miru>.", "A photo of a man.", "A photo of man."),
    ):
        assert said_by(prompt, record, bare=True) == published
        assert said_by(prompt, record) == correct


def test_scores_come_again_without_any_encoder(record: ConceptRecord, make: Maker) -> None:
    manifest = make([("pure", "a red <miru>", RED), ("portrait", "p", GREY)])
    first = measured(manifest, record)
    assert similarity_scores(Manifest.open(manifest.folder)) == first
    assert first["face"].value is None and first["face"].why == "no face was found"
    assert first["face found"].value == 0.0 and first["face zero-filled"].value == 0.0


def test_nothing_is_looked_at_twice_but_another_encoder_looks_anew(record: ConceptRecord, make: Maker) -> None:
    manifest, eye = make([("pure", "a red <miru>", RED)]), Eye()
    first = measured(manifest, record, clip=eye)
    seen, lines = eye.seen, len(manifest.measures)
    assert measured(manifest, record, clip=eye) == first
    assert (eye.seen, len(manifest.measures)) == (seen, lines)
    other = Eye()
    other.name = "eye@2"  # type: ignore[misc]
    measured(manifest, record, clip=other)
    assert other.seen > 0 and {each.encoder for each in manifest.measures if each.metric == "clip-i"} == {
        "eye@1",
        "eye@2",
    }


def test_what_was_not_looked_at_is_no_score(record: ConceptRecord, make: Maker) -> None:
    manifest = make([("pure", "a red <miru>", RED)])
    assert all(score.value is None for score in similarity_scores(manifest).values())
    measured(manifest, record)
    manifest.add_drawing("pure", "a red <miru>", 9, Image.new("RGB", (8, 8), RED))
    late = similarity_scores(manifest)["clip-i"]
    assert late.value is None and late.why == "'eye@1' has not looked at 1 of 2"


def test_absent_encoders_and_animals_leave_their_reason(record: ConceptRecord, make: Maker, tmp_path: Path) -> None:
    pet = replace(record, is_person=False)
    manifest = make([("pure", "a red <miru>", RED)])
    look({"x": manifest}, pet, open_encoders(str(tmp_path / "none"), tmp_path, tmp_path), "")
    found = similarity_scores(Manifest.open(manifest.folder))
    assert set(found) == set(COLUMNS) and all(score.value is None for score in found.values())
    assert "open_clip_config.json" in found["clip-i"].why and "lacks config.json" in found["dino"].why
    assert found["face"].why == "'miru' is no person"
    assert all(each.subject == ALL for each in manifest.measures)


def test_a_drawing_that_is_gone_is_named(record: ConceptRecord, make: Maker) -> None:
    manifest = make([("pure", "a red <miru>", RED)])
    manifest.image(manifest.drawings[0]).unlink()
    with pytest.raises(DataError, match="is gone"):
        measured(manifest, record)
