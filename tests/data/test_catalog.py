"""Promises of the dataset reader."""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import unictokens.data.folder as folder_module
from unictokens.data.catalog import Catalog
from unictokens.data.records import PLAIN_CONDITIONS, ConceptRecord
from unictokens.data.toyland.writer import write_dataset
from unictokens.errors import DataError, UniCTokensError

Write = Callable[[Path, Any], None]
STAGE_1 = "showo_training_data_stage_1/bo.json"


def bo(root: Path) -> ConceptRecord:
    return Catalog.open(root).concept("bo")


def refusal(root: Path) -> str:
    """The one-line message with which `bo` is refused."""
    with pytest.raises(UniCTokensError) as caught:
        bo(root)
    assert isinstance(caught.value, DataError)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def test_every_part_of_the_layout_is_read(dataset: Path) -> None:
    catalog = Catalog.open(dataset)
    assert catalog.names == ("bo", "miru")
    record = catalog.concept("bo")
    assert (record.cls, record.info, record.is_person, record.kind) == ("dog", "<bo> is a dog.", False, "live_subject")
    assert record.facts == ("<bo> has a red hat.", "<bo> lives at the beach.")
    assert [photo.name for photo in record.photos] == ["2.png", "0.png"]
    assert [photo.name for photo in record.drawings("photos")] == ["0.png", "2.png"]
    assert [len(some) for some in (record.cropped, record.hard_negatives, record.random_negatives)] == [2, 2, 2]
    assert [item.number for item in record.understanding("stage_1")] == [0, 1, 2]
    assert [question.kind for question in record.exam] == ["rec", "vqa", "text_only", "choice"]
    assert not record.exam[0].positive and len(record.test_photos) == 2 and record.black is not None
    assert record.knowledge_conditions() == ("<bo> at home",)
    assert catalog.concept("miru").is_person


def test_missing_lists_are_replaced_by_what_lies_in_the_folders(album: Path) -> None:
    catalog = Catalog.open(album)
    assert catalog.names == ("bo", "miru")
    record = catalog.concept("bo")
    assert [photo.name for photo in record.photos] == ["0.png", "1.png", "2.png"]
    assert record.exam == () and record.stages == {} and record.black is None
    with pytest.raises(DataError, match=r"no showo_training_data_stage_1/bo\.json"):
        record.understanding("stage_1")
    with pytest.raises(DataError, match="no cropped pictures"):
        record.drawings("cropped")


def test_both_forms_of_every_file_mean_the_same(dataset: Path, write: Write) -> None:
    train = dataset / "concept" / "train" / "bo"
    photo = "concept/train/bo/0.png"
    asked = {"image": photo, "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}
    seen = []
    for form in ([asked], {photo: [{"query": "Q", "answer": "A"}]}, [{"image": photo, "question": "Q", "answer": "A"}]):
        write(train / "conversations.json", form)
        seen.append(bo(dataset).conversations)
    assert seen[0] == seen[1] == seen[2] and seen[0][0].image == dataset / photo
    conditions = dataset / "concept" / "test" / "bo" / "t2i_conditions.json"
    assert list(bo(dataset).conditions) == [PLAIN_CONDITIONS]
    write(conditions, {"personalized_driven_generation": ["a"], "dense_prompt_generation": ["b", "c"]})
    assert bo(dataset).knowledge_conditions() == ("a", "b", "c")
    info = json.loads((train / "info.json").read_text())
    write(train / "info.json", {**info, "num_testing_info": 1})
    assert bo(dataset).cls == "dog"
    write(train / "info.json", {"class": "cup", "info": "<bo> is a cup."})
    assert (bo(dataset).is_person, bo(dataset).kind, bo(dataset).facts) == (False, "object", ())


def test_items_without_a_picture_are_left_out_and_counted(
    dataset: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    items = json.loads((dataset / STAGE_1).read_text())
    del items[1]["image"]
    write(dataset / STAGE_1, items)
    with caplog.at_level(logging.WARNING):
        assert [item.number for item in bo(dataset).understanding("stage_1")] == [0, 2]
    assert [record.getMessage() for record in caplog.records] == [f"{STAGE_1}: 1 items without a picture are left out"]


@pytest.mark.parametrize(
    "path",
    [
        "/home/author/unictokens_data/concept/train/bo/1.png",
        "/mnt/elsewhere/concept/train/bo/1.png",
        "./concept/train/bo/1.png",
        "concept/train/../train/bo/1.png",
    ],
)
def test_pictures_are_found_wherever_the_dataset_was_moved(dataset: Path, write: Write, path: str) -> None:
    items = json.loads((dataset / STAGE_1).read_text())
    write(dataset / STAGE_1, [{**items[0], "image": path}])
    assert bo(dataset).understanding("stage_1")[0].image == dataset / "concept/train/bo/1.png"
    own = dataset / "concept/train/bo/1.png"
    write(dataset / STAGE_1, [{**items[0], "image": str(own)}])
    assert bo(dataset).understanding("stage_1")[0].image == own


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "/etc/../../secret.png", "/etc/hostname", "a\x00b", "", "nothing.png", "x" * 5000],
)
def test_pictures_outside_or_absent_are_refused_by_item(dataset: Path, write: Write, path: str) -> None:
    (dataset.parent / "secret.png").write_bytes((dataset / "black_512x512.png").read_bytes())
    items = json.loads((dataset / STAGE_1).read_text())
    write(dataset / STAGE_1, [items[0], {**items[1], "image": path}])
    assert f"{STAGE_1}' item 1: image" in refusal(dataset)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (STAGE_1, "[{", "not valid JSON"),
        (STAGE_1, "[" * 100_000, "not valid JSON"),
        (STAGE_1, '["half a character: \\ud800"]', "not valid JSON"),
        (STAGE_1, "3", "is 3"),
        (STAGE_1, [5], "item 0 is 5"),
        (STAGE_1, [{"image": "black_512x512.png"}], "item 0, conversations is missing"),
        (
            STAGE_1,
            [{"image": "black_512x512.png", "conversations": [{"from": "robot", "value": "Q"}, {"value": "A"}]}],
            "item 0, conversations.0.from is 'robot'",
        ),
        (
            STAGE_1,
            [{"image": "black_512x512.png", "conversations": [{"from": "gpt", "value": "Q"}, {"value": "A"}]}],
            "conversations.0.from is 'gpt'",
        ),
        (
            STAGE_1,
            [{"image": "black_512x512.png", "conversations": [{"value": "Q"}] * 3}],
            "item 0 has 3 turns",
        ),
        (STAGE_1, [{"question": "Q", "answer": "A"}, {"question": "Q", "answer": 3}], "item 1, answer is 3"),
        (
            STAGE_1,
            [{"question": "Q", "answer": "A"}, {"conversations": [{"value": 3}] * 2}],
            "item 1, conversations.0.value",
        ),
        (STAGE_1, {"black_512x512.png": [{"query": "Q"}]}, "black_512x512.png.0.answer is missing"),
        ("concept/train/bo/info.json", {"info": "x"}, "class is missing"),
        ("concept/train/bo/info.json", {"class": 7, "info": "x"}, "class is 7"),
        ("concept/train/bo/info.json", [], "info.json"),
        ("concept/train/train_images.json", {"bo": ["9.png"]}, "does not exist"),
        ("concept/train/train_images.json", {"bo": ["../../../../secret.png"]}, "leaves the dataset"),
        ("concept/test/bo/t2i_conditions.json", [1], "item 0 is 1"),
        (
            "test_data/bo.json",
            [{"type": "exam", "conversations": [{"value": "Q"}, {"value": "A"}]}],
            "type is 'exam'",
        ),
    ],
)
def test_malformed_files_name_file_place_and_value(
    dataset: Path, write: Write, file: str, content: Any, says: str
) -> None:
    write(dataset / file, content)
    message = refusal(dataset)
    assert says in message and Path(file).name in message


def test_a_concept_without_photos_or_profile_fails_alone(album: Path, write: Write) -> None:
    write(album / "concept/train/train_images.json", {"bo": []})
    assert "concept 'bo' has no photos" in refusal(album)
    (album / "concept/train/train_images.json").unlink()
    for photo in (album / "concept/train/bo").glob("*.png"):
        photo.unlink()
    catalog = Catalog.open(album)
    assert "no photos" in refusal(album)
    assert catalog.concept("miru").cls == "woman"
    (album / "concept/train/bo/info.json").unlink()
    assert "info.json' is missing" in refusal(album)


def test_wrong_roots_and_names_are_refused(dataset: Path, write: Write, tmp_path: Path) -> None:
    for root in (tmp_path / "nowhere", dataset / "concepts_list.json", dataset / "random_images"):
        with pytest.raises(DataError):
            Catalog.open(root)
    catalog = Catalog.open(dataset)
    assert catalog.select("all") == ("bo", "miru") and catalog.select("miru, bo,miru") == ("miru", "bo")
    for wanted in ("bo,nobody", "", "../bo"):
        with pytest.raises(DataError):
            catalog.select(wanted)
    for names in (["a/b"], ["bo", "bo"], [3], {"bo": 1}, []):
        write(dataset / "concepts_list.json", names)
        with pytest.raises(DataError):
            Catalog.open(dataset)


def test_a_list_of_conditions_must_begin_with_the_plain_prompt(dataset: Path, write: Write) -> None:
    write(dataset / "concept/test/bo/t2i_conditions.json", ["<bo> at home"])
    with pytest.raises(DataError, match=r"first entry must be 'A photo of <bo>\.'"):
        bo(dataset).knowledge_conditions()


def test_the_digest_follows_content_and_not_place(dataset: Path, write: Write, tmp_path: Path) -> None:
    digest = bo(dataset).digest()
    moved = dataset.rename(tmp_path / "moved")
    assert bo(moved).digest() == digest
    items = json.loads((moved / STAGE_1).read_text())
    (moved / STAGE_1).write_text(json.dumps(items, indent=4))
    assert bo(moved).digest() == digest, "indentation says nothing"
    seen = {digest}

    def changed() -> bool:
        before = len(seen)
        seen.add(bo(moved).digest())
        return len(seen) > before

    items[0]["conversations"][1]["value"] = "No."
    write(moved / STAGE_1, items)
    assert changed()
    items[0]["image"] = "random_images/0.png"
    write(moved / STAGE_1, items)
    assert changed()
    (moved / "random_images/0.png").write_bytes((moved / "concept/train/bo/2.png").read_bytes())
    assert changed()
    (moved / "concept/train/bo/0.png").write_bytes((moved / "concept/train/bo/2.png").read_bytes())
    assert changed()
    asked = [("a", "b c"), ("a b", "c")]
    pictured = [{**items[0], "conversations": [{"value": one}, {"value": two}]} for one, two in asked]
    for item in pictured:
        write(moved / STAGE_1, [item])
        assert changed()
    assert replace(bo(moved), facts=()).digest() != bo(moved).digest()


def test_a_picture_whose_name_is_no_text_is_refused(dataset: Path) -> None:
    folder = dataset / "concept/train/bo/cropped"
    (folder / "0.png").rename(folder / os.fsdecode(b"\xff.png"))
    with pytest.raises(DataError, match="'bo' has a picture whose name is not UTF-8"):
        bo(dataset).digest()


def test_places_are_remembered_within_bounds(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Catalog.open(dataset)
    first = known.concept("bo")
    monkeypatch.setattr(folder_module, "KEPT_PLACES", 3)
    for name in ("bo", "miru", "bo"):
        known.concept(name)
    assert known.concept("bo") == first and known.concept("bo").digest() == first.digest()


def test_the_shipped_world_is_read_whole(tmp_path: Path) -> None:
    names = write_dataset(tmp_path / "toyland", concepts=2, size=32)
    catalog = Catalog.open(tmp_path / "toyland")
    assert list(catalog.names) == names
    for name in catalog.names:
        record = catalog.concept(name)
        assert len(record.photos) == len(record.cropped) == 10 and len(record.test_photos) == 20
        assert record.understanding("stage_1") and record.understanding("stage_3") and record.positives
        assert {question.kind for question in record.exam} == {"rec", "vqa", "text_only", "choice"}
        assert record.knowledge_conditions() and record.conversations
    assert catalog.templates()["recognition"]
