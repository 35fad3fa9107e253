"""Writes a Toyland dataset in the official UniCTokens layout: the folder appears complete or not at all."""

import json
import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unictokens.atomic import new_folder, storage_error
from unictokens.data.toyland import samples
from unictokens.data.toyland.grammar import RECOGNITION
from unictokens.data.toyland.prompts import EVALUATION_PROMPTS
from unictokens.data.toyland.renderer import render, subject_box
from unictokens.data.toyland.roster import NAMES, roster, strangers
from unictokens.data.toyland.samples import Album, Shot
from unictokens.data.toyland.world import FineIdentity, Photo, Subject, hard_negative, random_photo
from unictokens.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

TRAIN_PHOTOS, TOLD_PHOTOS = 10, 5
HARD_NEGATIVES, RANDOM_PHOTOS, RANDOM_NEGATIVES = 30, 100, 15
TESTED = 20
"""Test pictures of each kind: own, lookalikes, strangers. With five, one photo would be a tenth of a concept's score."""
RANDOM_FOR_TRAINING = 80
"""The first 80 random pictures are for training, the last 20 for tests, whichever concept asks."""
CROP_MARGIN = 0.03
SIZES = (32, 512)


def write_dataset(folder: Path, seed: int = 0, concepts: int = len(NAMES), size: int = 128) -> list[str]:
    """Write `concepts` (1..20) concepts with pictures of `size` pixels (32..512) to `folder`; returns their names.

    The same arguments give the same bytes. Raises DataError when `folder` is a file or is not empty, ConfigError for
    impossible numbers, StorageError when the disk refuses; nothing is left behind then.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise ConfigError(f"cannot write pictures of {size} pixels: choose a size from {SIZES[0]} to {SIZES[1]}")
    if seed < 0:
        raise ConfigError(f"seed {seed} is negative: choose 0 or more")
    subjects = roster(seed, concepts)
    _refuse_taken(folder)
    names = [subject.name for subject in subjects]
    with new_folder(folder) as root:
        crowd = [Shot(f"random_images/{at}.png", photo) for at, photo in enumerate(strangers(seed, RANDOM_PHOTOS))]
        for shot in crowd:
            _save(render(shot.photo, size), root / shot.path)
        _save(Image.new("RGB", (512, 512)), root / samples.BLACK)
        _write_json(root / "concepts_list.json", names)
        files = [f"{at}.png" for at in range(TRAIN_PHOTOS)]
        _write_json(root / "concept/train/train_images.json", dict.fromkeys(names, files))
        _write_json(root / "prompts_to_eval.json", EVALUATION_PROMPTS)
        _write_json(root / "template.json", {"recognition": [wording.format(who="<sks>") for wording in RECOGNITION]})
        for at, subject in enumerate(subjects):
            _write_concept(root, subject, crowd, size, seed, at)
            logger.info("drew %s (%d of %d)", subject.name, at + 1, len(subjects))
    return names


def _refuse_taken(folder: Path) -> None:
    try:
        if folder.is_dir():
            if any(folder.iterdir()):
                raise DataError(f"folder '{folder}' is not empty: choose a new folder or empty it")
        elif folder.exists():
            raise DataError(f"'{folder}' is a file: choose the name of a new folder")
    except OSError as error:
        raise storage_error(error, folder, "look into") from error


def _write_concept(root: Path, subject: Subject, crowd: Sequence[Shot], size: int, seed: int, place: int) -> None:
    rng = np.random.default_rng((seed, place, 4))
    # Of their own, so that how much is tested changes nothing of what is trained.
    more = np.random.default_rng((seed, place, 5))
    train, test = f"concept/train/{subject.name}", f"concept/test/{subject.name}"
    album = Album(
        train=_shots(train, [random_photo(rng, subject) for _ in range(TRAIN_PHOTOS)]),
        hard=_shots(f"{train}/negative_example", _lookalikes(subject, HARD_NEGATIVES, rng)),
        random=_some(crowd[:RANDOM_FOR_TRAINING], RANDOM_NEGATIVES, rng),
        test=_shots(
            test,
            [random_photo(rng, subject) for _ in range(TOLD_PHOTOS)]
            + [random_photo(more, subject) for _ in range(TESTED - TOLD_PHOTOS)],
        ),
        test_hard=_shots(
            f"{test}/negative_example",
            _lookalikes(subject, TOLD_PHOTOS, rng) + _lookalikes(subject, TESTED - TOLD_PHOTOS, more),
        ),
        test_random=_some(crowd[RANDOM_FOR_TRAINING:], TESTED, rng),
        told=TOLD_PHOTOS,
    )
    for shot in (*album.train, *album.hard, *album.test, *album.test_hard):
        _save(render(shot.photo, size), root / shot.path)
    for at, shot in enumerate(album.train):
        _save(crop(shot.photo, size), root / train / "cropped" / f"{at}.png")
    exam = samples.examination(album, subject, rng)
    records: dict[str, Any] = {
        f"{train}/info.json": samples.info(subject),
        f"{train}/conversations.json": samples.conversations(album.train, subject, rng),
        f"{train}/positive_recognitions.json": samples.recognitions(album.train, subject, True, rng),
        f"{train}/random_recognitions.json": samples.recognitions(album.random, subject, False, rng),
        f"showo_training_data_stage_1/{subject.name}.json": samples.stage_1(album, subject, rng),
        f"showo_training_data_stage_3/{subject.name}.json": samples.stage_3(album, subject, rng),
        f"test_data/{subject.name}.json": exam,
        f"{test}/vqa.json": [item for item in exam if item["type"] == "vqa"],
        f"{test}/text_only.json": [item for item in exam if item["type"] == "text_only"],
        f"{test}/t2i_conditions.json": samples.conditions(subject),
    }
    for path, value in records.items():
        _write_json(root / path, value)


def crop(photo: Photo, size: int) -> Image.Image:
    """The figure alone, with a small margin, as a square RGB picture of `size` pixels."""
    large = render(photo, min(2 * size, 1024))
    left, top, right, bottom = subject_box(photo)
    side = min(1.0, max(right - left, bottom - top) + 2 * CROP_MARGIN)
    x = min(max((left + right - side) / 2, 0.0), 1.0 - side)
    y = min(max((top + bottom - side) / 2, 0.0), 1.0 - side)
    n = large.width
    return large.resize((size, size), Image.Resampling.LANCZOS, box=(x * n, y * n, (x + side) * n, (y + side) * n))


def _lookalikes(subject: Subject, count: int, rng: np.random.Generator) -> list[Photo]:
    """Photos of hard negatives; the fine features take turns, so that each of them matters."""
    features = [field.name for field in fields(FineIdentity) if field.name != "skin" or subject.kind == "person"]
    order = [features[at] for at in rng.permutation(len(features))]
    return [random_photo(rng, hard_negative(subject, rng, order[at % len(order)])) for at in range(count)]


def _shots(folder: str, photos: list[Photo]) -> list[Shot]:
    return [Shot(f"{folder}/{at}.png", photo) for at, photo in enumerate(photos)]


def _some(shots: Sequence[Shot], count: int, rng: np.random.Generator) -> list[Shot]:
    return [shots[at] for at in rng.permutation(len(shots))[:count]]


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
