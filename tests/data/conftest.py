"""A small dataset in the official layout, written by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

NAME = "bo"


def put(path: Path, value: Any) -> None:
    """Write JSON (or text as it is), making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def draw(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (12, 10)) -> None:
    """A picture of one colour with one dark corner, so that mirroring shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, colour)
    picture.paste((0, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
    picture.save(path)


@pytest.fixture
def write() -> Callable[[Path, Any], None]:
    """`write(path, value)`: JSON on disk."""
    return put


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photos and profiles of two concepts, no question files; the root of the dataset."""
    root = tmp_path / "album"
    for name, cls, tag in ((NAME, "dog", "animal"), ("miru", "woman", "human")):
        folder = root / "concept" / "train" / name
        for at in range(3):
            draw(folder / f"{at}.png", (80 * at, 90, 200 if name == NAME else 20))
        draw(folder / "0_mask.png", (255, 255, 255))
        put(
            folder / "info.json",
            {
                "class": cls,
                "info": f"<{name}> is a {cls}.",
                "extra_info": [f"<{name}> has a red hat.", f"<{name}> lives at the beach."],
                "conversation_type": tag,
                "generation_type": "live_subject",
            },
        )
    return root


@pytest.fixture
def dataset(album: Path) -> Path:
    """The album with question files of every kind for `bo`."""
    train = album / "concept" / "train"
    test = album / "concept" / "test" / NAME
    put(album / "concepts_list.json", [NAME, "miru"])
    put(train / "train_images.json", {NAME: ["2.png", "0.png", "0_mask.png"]})
    for at in range(2):
        draw(train / NAME / "cropped" / f"{at}.png", (10, 200, at))
        draw(train / NAME / "negative_example" / f"{at}.jpg", (200, 10, at))
        draw(album / "random_images" / f"{at}.png", (1, 2, 3))
        draw(test / f"{at}.png", (9, 9, 90))
    draw(album / "black_512x512.png", (0, 0, 0))
    items = [
        {
            "image": f"concept/train/{NAME}/{at}.png",
            "conversations": [
                {"from": "human", "value": f"<image>\nIs <{NAME}> here, number {at}?"},
                {"from": "gpt", "value": "Yes."},
            ],
        }
        for at in range(3)
    ]
    for stage in (1, 3):
        put(album / f"showo_training_data_stage_{stage}" / f"{NAME}.json", items)
    put(
        album / "test_data" / f"{NAME}.json",
        [
            {
                "image": f"concept/test/{NAME}/0.png",
                "type": kind,
                "conversations": [{"value": "<image>\nQ"}, {"value": "No."}],
            }
            for kind in ("rec", "vqa", "text_only", "choice_vqa")
        ],
    )
    put(test / "t2i_conditions.json", [f"A photo of <{NAME}>.", f"<{NAME}> at home"])
    return album
