"""The quick way to read a dataset says what the careful one says, word for word."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unictokens.data.forms as forms_module
from unictokens.data.catalog import Catalog
from unictokens.data.quick import quick_items
from unictokens.errors import DataError

BLACK = "black_512x512.png"
FILE = "concept/train/bo/conversations.json"
TURNS = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
PLAIN = {
    "dialogue": [{"image": BLACK, "conversations": TURNS}],
    "without speakers": [{"image": BLACK, "conversations": [{"value": "Q"}, {"from": None, "value": "\ud7ff\x7f\n"}]}],
    "two questions": [{"conversations": TURNS * 2, "image": None, "more": {"x": 1}}],
    "pairs": [{"image": BLACK, "query": "Q", "question": "not this", "answer": "A"}, {"question": "", "answer": ""}],
    "mixed": [{"question": "Q", "answer": "A"}, {"conversations": TURNS, "type": "vqa"}],
    "by picture": {BLACK: [{"query": "Q", "answer": "A"}, {"question": "R", "answer": "B"}], "random_images/0.png": []},
    "empty": [],
    "nothing": {},
}
ODD = {
    "a dialogue with a strange question beside it": [{"conversations": TURNS, "question": 3}],
    "a pair by picture with conversations": {BLACK: [{"query": "Q", "answer": "A", "conversations": TURNS}]},
    "not JSON": "[{",
    "deep": "[" * 100_000,
    "not a file of items": 3,
    "no item": [5],
    "empty item": [{}],
    "no turns": [{"conversations": []}],
    "one turn": [{"conversations": TURNS[:1]}],
    "three turns": [{"conversations": [*TURNS, TURNS[0]]}],
    "wrong turn": [{"conversations": TURNS[::-1]}],
    "wrong turn later": [{"conversations": [*TURNS, *TURNS[::-1]]}],
    "robot": [{"conversations": [{"from": "robot", "value": "Q"}, TURNS[1]]}],
    "no answer": [{"question": "Q"}],
    "null question": [{"query": None, "question": "Q", "answer": "A"}],
    "number": [{"image": 3, "conversations": TURNS}],
    "by picture without answer": {BLACK: [{"query": "Q"}]},
    "by picture, a dialogue": {BLACK: [{"conversations": TURNS}]},
    "half a character": '["\\ud800"]',
    "no picture": [{"image": "nowhere.png", "conversations": TURNS}],
}


def said(root: Path, name: str = "bo") -> Any:
    """The concept, or why it is refused, and its digest."""
    try:
        record = Catalog.open(root).concept(name)
    except DataError as error:
        with pytest.raises(DataError) as again:
            Catalog.open(root).digest(name, {})
        assert str(again.value) == str(error)
        return str(error)
    assert Catalog.open(root).digest(name, {}) == record.digest()
    return record


@pytest.mark.parametrize("content", [*PLAIN.values(), *ODD.values()], ids=[*PLAIN, *ODD])
def test_both_ways_say_the_same(
    dataset: Path, write: Callable[[Path, Any], None], monkeypatch: pytest.MonkeyPatch, content: Any
) -> None:
    write(dataset / FILE, content)
    quick = said(dataset)
    monkeypatch.setattr(forms_module, "quick_items", lambda content: None)
    assert said(dataset) == quick


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_every_plain_form_is_read_the_quick_way(content: Any) -> None:
    assert quick_items(json.dumps(content).encode()) is not None


def test_a_whole_dataset_is_read_the_quick_way(toyland: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [file for kind in ("showo_training_data_*/*", "test_data/*") for file in toyland.glob(f"{kind}.json")]
    assert files and all(quick_items(file.read_bytes()) for file in files)
    quick = [said(toyland, name) for name in Catalog.open(toyland).names]
    monkeypatch.setattr(forms_module, "quick_items", lambda content: None)
    assert [said(toyland, name) for name in Catalog.open(toyland).names] == quick
