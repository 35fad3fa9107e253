"""Promises of concept names, bundles and their cards."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unictokens.concepts import prompt
from unictokens.concepts.bundle import ConceptBundle, load_bundle, save_bundle
from unictokens.concepts.card import PromptTemplates, compile_template
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.names import check_name
from unictokens.errors import ConceptError, StorageError
from unictokens.sealed import load_sealed, save_sealed

LAYOUT = TokenLayout(shared=3, generation=2, understanding=2)
Make = Callable[..., ConceptBundle]


@pytest.mark.parametrize("name", ["bo", "A-b_9", "x" * 64])
def test_ordinary_names_are_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "..", "<bo>", "a b", "x" * 300, "bö", "a\n", "a\x00", "a.b"])
def test_hostile_names_are_refused_in_one_short_line(name: str) -> None:
    with pytest.raises(ConceptError) as caught:
        check_name(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 160


@pytest.mark.parametrize("rows", [4, 6, 8])
def test_a_bundle_comes_back_bit_for_bit(tmp_path: Path, rows: int, bundle: Make) -> None:
    written = bundle(rows)
    save_bundle(written, tmp_path / "deep" / "bo.safetensors")
    read = load_bundle(tmp_path / "deep" / "bo.safetensors", LAYOUT, written.card.backbone)
    assert read.card == written.card
    for mine, theirs in zip(read.tokens.tensors(), written.tokens.tensors(), strict=True):
        assert torch.equal(mine, theirs)


def test_equal_bundles_are_equal_files(tmp_path: Path, bundle: Make) -> None:
    for at in range(8):
        save_bundle(bundle(), tmp_path / str(at))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_group_without_rows_is_simply_absent(tmp_path: Path, bundle: Make) -> None:
    layout = TokenLayout(shared=3, generation=0, understanding=2)
    save_bundle(bundle(6, layout), tmp_path / "bo.safetensors")
    assert {name.split(".")[0] for name in load_file(tmp_path / "bo.safetensors")} == {
        "identifier",
        "shared",
        "understanding",
    }
    assert load_bundle(tmp_path / "bo.safetensors").tokens.rows == 6


def test_templates_as_text_give_the_prompts_of_training() -> None:
    for groups, drawing in (
        (("shared", "understanding"), ("shared", "generation")),
        (("shared",), ()),
        ((), ("shared",)),
    ):
        templates = PromptTemplates.of(LAYOUT, groups, drawing)
        assert compile_template(templates.introduction, LAYOUT) == prompt.introduction(LAYOUT, groups)
        assert compile_template(templates.subject, LAYOUT, 1) == prompt.subject(LAYOUT, drawing, 1)


def test_a_bundle_of_another_layout_is_refused(tmp_path: Path, bundle: Make) -> None:
    save_bundle(bundle(), tmp_path / "bo.safetensors")
    with pytest.raises(ConceptError, match=r"3/2/2 \(8 rows\).*16/8/8 \(33 rows\)"):
        load_bundle(tmp_path / "bo.safetensors", TokenLayout())


def test_rows_that_end_inside_a_group_are_refused(bundle: Make) -> None:
    with pytest.raises(ConceptError, match="5 rows do not fit"):
        bundle(5)


def test_templates_that_need_missing_rows_are_refused(bundle: Make) -> None:
    whole, part = bundle(), bundle(4)
    with pytest.raises(ConceptError, match="4 rows, its templates use 8"):
        ConceptBundle(part.tokens, whole.card)


def test_rows_of_the_wrong_number_in_a_file_are_refused(tmp_path: Path, bundle: Make) -> None:
    path = tmp_path / "bo.safetensors"
    save_bundle(bundle(), path)
    tensors, card = load_sealed(path, "concept bundle", "")
    save_sealed(path, {**tensors, "shared.embed": torch.zeros(4, 6)}, card)
    with pytest.raises(ConceptError, match=r"shared\.embed .*\(4, 6\).*needs float32 \(3, 6\)"):
        load_bundle(path)
    save_sealed(path, {**tensors, "shared.embed": torch.full((3, 6), torch.nan)}, card)
    with pytest.raises(ConceptError, match="non-finite"):
        load_bundle(path)
    save_sealed(path, {name: value for name, value in tensors.items() if name != "shared.bias"}, card)
    with pytest.raises(ConceptError, match="no whole groups"):
        load_bundle(path)


def test_rows_of_other_frozen_weights_are_refused_by_both_names(tmp_path: Path, bundle: Make) -> None:
    save_bundle(bundle(), tmp_path / "bo.safetensors")
    other = replace(bundle().card.backbone, name="big", fingerprint="b" * 64)
    with pytest.raises(ConceptError, match=r"'tiny' \(aaaaaaaaaaaa\).*'big' \(bbbbbbbbbbbb\)"):
        load_bundle(tmp_path / "bo.safetensors", backbone=other)


def test_damage_is_noticed(tmp_path: Path, bundle: Make) -> None:
    path = tmp_path / "bo.safetensors"
    save_bundle(bundle(), path)
    whole = path.read_bytes()
    for data in (whole[:-3], whole[:40], b"", b"hello", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(data)
        with pytest.raises(StorageError) as caught:
            load_bundle(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    save_file({"identifier.embed": torch.zeros(1, 6)}, path, {"sealed": "3"})
    with pytest.raises(StorageError, match="damaged"):
        load_bundle(path)
    save_file({"identifier.embed": torch.zeros(1, 6)}, path)
    with pytest.raises(StorageError, match="not a concept bundle"):
        load_bundle(path)
    with pytest.raises(StorageError, match="missing"):
        load_bundle(tmp_path / "missing.safetensors")


def test_a_newer_format_says_to_update(tmp_path: Path, bundle: Make) -> None:
    path = tmp_path / "bo.safetensors"
    whole = bundle()
    save_bundle(ConceptBundle(whole.tokens, replace(whole.card, format=9)), path)
    with pytest.raises(StorageError, match=r"format 9.*update"):
        load_bundle(path)
