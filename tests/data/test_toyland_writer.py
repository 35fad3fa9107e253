"""The written dataset has the official layout, whole or not at all."""

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from unictokens.data.toyland import writer
from unictokens.data.toyland.writer import write_dataset
from unictokens.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toyland") / "data"
    assert write_dataset(folder, seed=1, concepts=2, size=32) == ["bo", "miru"]
    return folder


def load(path: Path) -> list[dict]:
    return json.loads(path.read_text())


def test_every_picture_named_in_json_exists_and_opens(dataset: Path) -> None:
    for name in ("bo", "miru"):
        for folder in ("showo_training_data_stage_1", "showo_training_data_stage_3", "test_data"):
            for item in load(dataset / folder / f"{name}.json"):
                with Image.open(dataset / item["image"]) as image:
                    assert image.mode == "RGB" and image.size in ((32, 32), (512, 512))
        files = json.loads((dataset / "concept/train/train_images.json").read_text())[name]
        assert len(files) == 10
        for file in files:
            assert (dataset / "concept/train" / name / file).is_file()
            assert (dataset / "concept/train" / name / "cropped" / file).is_file()
        assert len(list((dataset / "concept/test" / name).glob("*.png"))) == 20
    assert len(list((dataset / "random_images").glob("*.png"))) == 100


def test_training_items_have_the_official_form_and_never_name_tokens(dataset: Path) -> None:
    items = load(dataset / "showo_training_data_stage_1/bo.json")
    for item in items + load(dataset / "showo_training_data_stage_3/bo.json"):
        human, gpt = item["conversations"]
        assert (human["from"], gpt["from"]) == ("human", "gpt")
        assert human["value"].startswith("<image>\n") and "<token_" not in human["value"] and gpt["value"]
    recognised = [i for i in items if i["conversations"][1]["value"].endswith("in the photo.") and "?" in str(i)]
    answers = Counter(i["conversations"][1]["value"] for i in recognised)
    assert answers["Yes, <bo> is in the photo."] == 15
    assert answers["No, <bo> is not in the photo."] == 15


def test_lookalikes_are_left_to_stage_3(dataset: Path) -> None:
    asked = [{i["image"] for i in load(dataset / f"showo_training_data_stage_{stage}/bo.json")} for stage in (1, 3)]
    alike = {f"concept/train/bo/negative_example/{at}.png" for at in range(30)}
    assert not asked[0] & alike and alike <= asked[1]


def test_the_examination_has_all_types_and_plain_noes(dataset: Path) -> None:
    items = load(dataset / "test_data/bo.json")
    assert {item["type"] for item in items} == {"rec", "vqa", "text_only", "choice"}
    answers = Counter(item["conversations"][1]["value"] for item in items if item["type"] == "rec")
    assert answers == {"Yes.": 20, "No.": 40}
    trained = {item["image"] for item in load(dataset / "showo_training_data_stage_1/bo.json")}
    asked = {item["image"] for item in items if item["type"] != "text_only"}
    assert not trained & asked


def test_more_test_pictures_change_nothing_of_what_is_trained(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "TESTED", 6)
    write_dataset(tmp_path / "fewer", seed=1, concepts=2, size=32)
    for file in (tmp_path / "fewer").rglob("*"):
        place = file.relative_to(tmp_path / "fewer")
        if file.is_file() and not {"test", "test_data"} & set(place.parts):
            assert file.read_bytes() == (dataset / place).read_bytes(), place


def test_text_only_items_use_the_black_picture(dataset: Path) -> None:
    items = [i for i in load(dataset / "showo_training_data_stage_1/bo.json") if i["image"] == "black_512x512.png"]
    assert len(items) >= 5
    facts = json.loads((dataset / "concept/train/bo/info.json").read_text())["extra_info"]
    told = {item["conversations"][1]["value"] for item in items}
    assert set(facts) <= told
    with Image.open(dataset / "black_512x512.png") as image:
        assert image.size == (512, 512) and image.getextrema() == ((0, 0),) * 3


def test_records_describe_the_concept(dataset: Path) -> None:
    record = json.loads((dataset / "concept/train/miru/info.json").read_text())
    assert record["conversation_type"] == "human" and record["generation_type"] == "live_subject"
    assert record["info"].startswith("<miru> is ") and 1 <= len(record["extra_info"]) <= 2
    conditions = json.loads((dataset / "concept/test/miru/t2i_conditions.json").read_text())
    assert conditions[0] == "A photo of <miru>." and len(conditions) == 1 + len(record["extra_info"])


def test_the_same_seed_writes_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "again", seed=1, concepts=2, size=32)
    files = sorted(path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    for file in files:
        assert (dataset / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_a_taken_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/keep.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        write_dataset(tmp_path / "taken", concepts=1, size=32)
    with pytest.raises(DataError, match="is a file"):
        write_dataset(tmp_path / "taken/keep.txt", concepts=1, size=32)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "keep.txt"]


@pytest.mark.parametrize(("concepts", "size", "seed"), [(0, 64, 0), (21, 64, 0), (2, 8, 0), (2, 4096, 0), (2, 64, -1)])
def test_impossible_numbers_are_refused_before_anything_is_written(
    tmp_path: Path, concepts: int, size: int, seed: int
) -> None:
    with pytest.raises(ConfigError):
        write_dataset(tmp_path / "new", seed=seed, concepts=concepts, size=size)
    assert not list(tmp_path.iterdir())
