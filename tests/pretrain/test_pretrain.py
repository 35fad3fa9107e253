"""The recipe of the small base, at toy sizes: it runs whole, resumes exactly, and its base loads like any other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_recipe import MAGVIT, TINY, lessons_of

from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.backbones.showo.weights import load
from unictokens.data.toyland import Question
from unictokens.errors import CheckpointError, StorageError
from unictokens.pretrain import __main__ as command
from unictokens.pretrain.card import measure_and_write
from unictokens.pretrain.codebook import settle_codes, share_codes
from unictokens.pretrain.codes import encode_shards, start_weights, train_image_tokenizer
from unictokens.pretrain.language import asked_places, train_language_model
from unictokens.pretrain.lineage import read_lineage
from unictokens.pretrain.measure import agrees
from unictokens.pretrain.pool import draw_pixels, draw_shards, to_network
from unictokens.pretrain.recipe import Recipe, TokenizerRecipe
from unictokens.pretrain.state import load_state, save_state


def test_made_base_loads_and_gets_a_measured_card(base: Path) -> None:
    backbone = load(str(base))
    assert backbone.info.codes == 16 and backbone.info.width == 32
    measure_and_write(base, TINY)
    card = (base / "MODEL_CARD.md").read_text()
    assert backbone.info.fingerprint in card and "| which class |" in card


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_resumed_image_tokenizer_is_the_undisturbed_one(tmp_path: Path) -> None:
    for folder in ("whole", "parts"):
        draw_shards(tmp_path / folder, "strangers", 1, TINY.shard, TINY.image_size, processes=1)
    recipe = replace(TINY.tokenizer, steps=4)
    whole = train_image_tokenizer(recipe, tmp_path / "whole", "cpu")
    first = train_image_tokenizer(recipe, tmp_path / "parts", "cpu", until=2)
    assert not same(first, whole)
    assert same(train_image_tokenizer(recipe, tmp_path / "parts", "cpu"), whole)


def test_resumed_transformer_is_the_undisturbed_one(base: Path, tmp_path: Path) -> None:
    backbone = load(str(base))
    lessons = lessons_of(base)
    recipe = replace(TINY.language, steps=4)
    whole, steps = train_language_model(backbone.config, lessons, recipe, tmp_path / "whole.state", "cpu")
    first, _ = train_language_model(backbone.config, lessons, recipe, tmp_path / "parts.state", "cpu", until=2)
    assert not same(first, whole)
    last, again = train_language_model(backbone.config, lessons, recipe, tmp_path / "parts.state", "cpu")
    assert same(last, whole) and steps == again == 4


def test_state_round_trips_and_damage_is_named(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "state.safetensors"
    save_state(path, model, optimizer, step=7)
    other = torch.nn.Linear(3, 2)
    fresh = torch.optim.AdamW(other.parameters())
    assert load_state(path, other, fresh) == 7
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(fresh.state[other.weight]["exp_avg"], optimizer.state[model.weight]["exp_avg"])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StorageError, match=r"state\.safetensors"):
        load_state(path, other, fresh)


def test_codes_of_another_image_tokenizer_are_not_reused(tmp_path: Path) -> None:
    draw_shards(tmp_path, "strangers", 1, TINY.shard, TINY.image_size, processes=1)
    codes = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        codes.append(encode_shards(Magvit(MAGVIT).eval(), tmp_path, "strangers", 1, "cpu"))
    assert not np.array_equal(*codes)


def test_photos_follow_from_their_seeds() -> None:
    assert np.array_equal(draw_pixels(range(5, 8), 16)[1], draw_pixels(range(6, 7), 16)[0])


def test_start_keeps_the_signal_alive() -> None:
    torch.manual_seed(0)
    magvit = Magvit(TINY.tokenizer.magvit)
    start_weights(magvit)
    z_BCHW = magvit.encode_bits(to_network(draw_pixels(range(4), 16)))
    assert 0.1 < float(z_BCHW.detach().std()) < 10.0


@pytest.mark.parametrize(
    ("kind", "truth", "said", "right"),
    [
        ("class", "A dog.", "a dog.", True),
        ("class", "A dog.", "A cat.", False),
        ("recognition", "No, <bo> is not in the photo.", "No, <bo> is in the photo.", True),
        ("recognition", "No, <bo> is not in the photo.", "Not sure.", False),
        ("yesno", "Yes.", "Yes", True),
        ("yesno", "Yes.", "", False),
    ],
)
def test_what_counts_as_a_right_answer(kind: str, truth: str, said: str, right: bool) -> None:
    assert agrees(Question("?", truth, kind), said) is right


def test_settled_code_rows_are_the_shared_ones(base: Path) -> None:
    """Directions shared by signs are in the tables afterwards: same logits, and no trace of them in the model."""
    backbone = load(str(base))
    torch.manual_seed(0)
    model = LanguageModel(backbone.config.phi, backbone.config.vocab_size)
    names = set(model.state_dict())
    plain_VD = model.embed_VD.detach().clone()
    share_codes(model, backbone.magvit.quantize.embedding, backbone.vocabulary)
    shared_VD = model.embed_VD.detach().clone()
    codes = slice(backbone.vocabulary.code_offset, backbone.vocabulary.mask)
    assert torch.equal(shared_VD[: codes.start], plain_VD[: codes.start])
    assert not torch.equal(shared_VD[codes], plain_VD[codes])
    settle_codes(model)
    assert set(model.state_dict()) == names and torch.equal(model.embed_VD, shared_VD)


def test_sharing_leaves_trained_rows_as_they_are(base: Path) -> None:
    backbone = load(str(base))
    model = backbone.language_model
    before_VD = model.embed_VD.detach().clone()
    share_codes(model, backbone.magvit.quantize.embedding, backbone.vocabulary, trained=True)
    assert torch.allclose(model.embed_VD, before_VD, atol=1e-6)


def test_a_base_is_trained_on(base: Path, tmp_path: Path) -> None:
    """Its transformer changes, its image tokenizer as far as asked, and the card tells of it; other sizes are refused."""
    kept = replace(TINY, tokenizer=replace(TINY.tokenizer, steps=0))
    on = command.pretrain(kept, tmp_path, "cpu", 1, start=str(base))
    first, second = load(str(base)), load(str(on))
    assert [run.fingerprint for run in read_lineage(on)] == [first.info.fingerprint, second.info.fingerprint]
    assert same(first.magvit, second.magvit) and first.tokenizer.to_json() == second.tokenizer.to_json()
    assert not same(first.language_model, second.language_model)
    changed = load(str(command.pretrain(TINY, tmp_path / "changed", "cpu", 1, start=str(base))))
    assert not same(first.magvit, changed.magvit)
    again = load(str(command.pretrain(kept, base.parent, "cpu", 1, start=str(tmp_path / "changed" / "base"))))
    assert same(again.magvit, changed.magvit)  # not the one whose finished state lies in this folder
    wide = replace(TINY, language=replace(TINY.language, width=64))
    with pytest.raises(CheckpointError, match="other sizes"):
        command.pretrain(wide, tmp_path / "wide", "cpu", 1, start=str(base))


@pytest.mark.parametrize(
    ("options", "steps"),
    [((), TokenizerRecipe.steps), (("--start", "mini"), 0), (("--start", "mini", "--set", "tokenizer.steps=7"), 7)],
)
def test_image_tokenizer_is_kept_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], steps: int
) -> None:
    asked: list[Recipe] = []
    monkeypatch.setattr(command, "pretrain", lambda recipe, folder, *rest: asked.append(recipe) or folder)
    monkeypatch.setattr(command, "measure_and_write", lambda folder, recipe: None)
    assert command.main([str(tmp_path), *options]) == 0
    assert asked[0].tokenizer.steps == steps


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("language.step=3", "unknown setting 'language.step'"),
        ("language.steps=many", "setting 'language.steps' is 'many'"),
        ("tokenizer.magvit.groups=x", "setting 'tokenizer.magvit.groups'"),
    ],
)
def test_wrong_settings_of_the_recipe_are_refused(
    tmp_path: Path, setting: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(tmp_path / "run"), "--set", setting]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_first_two_words_of_an_answer_weigh_more() -> None:
    labels_BT = torch.tensor([[IGNORE, 5, 6, 7, IGNORE, 8]])
    places_M, asked_M, weights_M = asked_places(labels_BT, shift=1, first=4.0)
    assert places_M[:4].tolist() == [0, 1, 2, 4] and asked_M[:4].tolist() == [5, 6, 7, 8]
    assert weights_M[:4].tolist() == [4.0, 4.0, 1.0, 4.0] and weights_M[4:].sum() == 0
