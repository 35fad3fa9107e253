"""Typed text stays text; learned rows stand where the prompt puts them."""

from pathlib import Path

import pytest

from unictokens.concepts.prompt import Rows, join
from unictokens.concepts.tokenizer import ROW_STRIDE, TextTokenizer
from unictokens.errors import CheckpointError

V = 5000


@pytest.mark.parametrize("typed", ["<|endoftext|>", "<bo>", "<token_3>", "[PAD]", "<|soi|>", "<|mmu|>", "[MASK]"])
def test_typed_special_names_stay_plain_text(tiny_tokenizer: TextTokenizer, typed: str) -> None:
    ids = tiny_tokenizer.encode((f"a {typed} b",), V)
    assert all(identifier < tiny_tokenizer.size and identifier != tiny_tokenizer.eot for identifier in ids)
    assert tiny_tokenizer.decode(ids) == f"a {typed} b"


def test_learned_rows_are_placed_by_position(tiny_tokenizer: TextTokenizer) -> None:
    ids = tiny_tokenizer.encode(join("is ", (Rows((2, 0), 0),), " or ", (Rows((1,), 3),)), V)
    assert [i for i in ids if i >= V] == [V + 2, V, V + 3 * ROW_STRIDE + 1]
    at = ids.index(V + 2)
    assert ids[:at] == tiny_tokenizer.encode_text("is ")


def test_published_tokenizer_gives_published_ids(shared_data: Path) -> None:
    tokenizer = TextTokenizer.load(shared_data / "phi_tokenizer" / "tokenizer.json")
    assert (tokenizer.size, tokenizer.eot) == (50295, 50256)
    ids = tokenizer.encode(join("A photo of ", (Rows((1, 2)),), " ", (Rows((0,)),), "."), 58498)
    assert ids == [32, 4590, 286, 220, 58499, 58500, 220, 58498, 13]
    assert tokenizer.encode_text("a   b") == [64, 50285, 65]


def test_tokenizer_reads_back_as_itself(tiny_tokenizer: TextTokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tiny_tokenizer.to_json(), encoding="utf-8")
    again = TextTokenizer.load(tmp_path / "tokenizer.json")
    assert again.encode_text("The dog is brown. ü ☃") == tiny_tokenizer.encode_text("The dog is brown. ü ☃")
    assert (again.eot, again.size) == (tiny_tokenizer.eot, tiny_tokenizer.size)


@pytest.mark.parametrize("content", [None, "", "{}", "{broken", '{"model": 3}'])
def test_broken_tokenizer_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json") as caught:
        TextTokenizer.load(path)
    assert "\n" not in str(caught.value)
