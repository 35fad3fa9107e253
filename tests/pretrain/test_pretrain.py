"""The recipe of the small base, at toy sizes: it runs whole, resumes exactly, and its base loads like any other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unictokens.backbones.showo.attention import packed_mask, understanding_mask
from unictokens.backbones.showo.image_tokenizer import Magvit, MagvitConfig
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.backbones.showo.weights import load
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.data.toyland import Question, random_photo, residents
from unictokens.errors import CheckpointError, StorageError
from unictokens.pretrain import __main__ as command
from unictokens.pretrain.assemble import small_config
from unictokens.pretrain.attributes import (
    SIZES,
    UNSEEN,
    attribute_loss,
    attributes_of,
    attributes_of_subject,
    match_loss,
    shared_looks,
)
from unictokens.pretrain.card import measure_and_write
from unictokens.pretrain.codebook import settle_codes, share_codes
from unictokens.pretrain.codes import codes_kind, encode_shards, start_weights, train_image_tokenizer
from unictokens.pretrain.language import asked_places, train_language_model
from unictokens.pretrain.lessons import Lessons, corpus, packed_positions
from unictokens.pretrain.lineage import read_lineage
from unictokens.pretrain.measure import agrees
from unictokens.pretrain.pool import draw_pixels, draw_shards, photo_of, shard_path, to_network
from unictokens.pretrain.recipe import LanguageRecipe, ProbeRecipe, Recipe, TokenizerRecipe
from unictokens.pretrain.state import load_state, save_state

MAGVIT = MagvitConfig(
    base=8,
    bits=4,
    groups=4,
    encoder_multipliers=(1, 1, 2),
    encoder_blocks=(0, 1, 1),
    decoder_multipliers=(1, 1, 2),
    decoder_blocks=(1, 1, 1),
)
TINY = Recipe(
    image_size=16,
    shard=8,
    held_out=2,
    drawn=2,
    probe=ProbeRecipe(concepts=1, renders=12, held_out=4, steps=4, batch=4, width=8),
    tokenizer=TokenizerRecipe(compiled=False, magvit=MAGVIT, shards=1, batch=4, steps=2, warmup_steps=1, soft_steps=1),
    language=LanguageRecipe(
        compiled=False, width=32, layers=1, heads=2, intermediate=64, text_vocabulary=300, shards=1, companion_shards=1, resident_shards=1,
        batch_generation=2, batch_understanding=2, text_room=60, steps=2, warmup_steps=1, attributes_layer=1, gathered_layer=1,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return command.pretrain(TINY, tmp_path_factory.mktemp("pretrain"), "cpu", processes=1)


def test_made_base_loads_and_gets_a_measured_card(base: Path) -> None:
    backbone = load(str(base))
    assert backbone.info.codes == 16 and backbone.info.width == 32
    measure_and_write(base, TINY)
    card = (base / "MODEL_CARD.md").read_text()
    assert backbone.info.fingerprint in card and "| which class |" in card


def lessons_of(base: Path) -> Lessons:
    backbone = load(str(base))
    kind = codes_kind(backbone.magvit)
    codes = [np.load(shard_path(base.parent, pool, kind, 0)) for pool in ("strangers", "companions", "residents")]
    return Lessons(backbone.sequences, TINY.language, *codes, backbone.black_codes_N)


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
    whole = train_language_model(backbone.config, lessons, recipe, tmp_path / "whole.state", "cpu")
    first = train_language_model(backbone.config, lessons, recipe, tmp_path / "parts.state", "cpu", until=2)
    assert not same(first, whole)
    assert same(train_language_model(backbone.config, lessons, recipe, tmp_path / "parts.state", "cpu"), whole)


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


def test_packed_turns_do_not_see_each_other(base: Path) -> None:
    """A turn of a packed conversation is answered as it would be alone, and stands where it would stand alone."""
    backbone = load(str(base))
    prefix = lessons_of(base).prefix
    turns_BT = torch.tensor([[-1] * prefix + [0, 0, 0, 2, 2, -2]])
    positions_BT = packed_positions(prefix, turns_BT)
    assert positions_BT[0, prefix:].tolist() == [prefix, prefix + 1, prefix + 2, prefix, prefix + 1, prefix]
    torch.manual_seed(0)
    x_BTD = torch.randn(1, prefix + 6, backbone.info.width)
    packed_BTD = backbone.language_model.hidden(x_BTD, packed_mask(prefix, turns_BT), positions_BT)
    alone_BTD = torch.cat([x_BTD[:, :prefix], x_BTD[:, prefix + 3 : prefix + 5]], dim=1)
    alone_BTD = backbone.language_model.hidden(alone_BTD, understanding_mask(prefix, prefix + 2))
    assert torch.allclose(packed_BTD[:, prefix + 3 : prefix + 5], alone_BTD[:, prefix:], atol=1e-5)


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


def test_lessons_hide_only_what_is_asked(base: Path) -> None:
    """Every label of a drawing is a hidden code or an image end; every label of a conversation is part of an answer."""
    backbone = load(str(base))
    lessons = lessons_of(base)
    drawings, vocabulary = lessons.drawings(0), backbone.vocabulary
    asked = drawings.labels_BT != IGNORE
    shown = drawings.ids_BT[asked]
    assert set(shown.tolist()) <= {vocabulary.mask, vocabulary.soi, vocabulary.eoi}
    assert bool((drawings.ids_BT == vocabulary.mask).eq(asked & (drawings.ids_BT == vocabulary.mask)).all())
    talks = lessons.conversations(0)
    told = talks.labels_BT != IGNORE
    assert bool((talks.labels_BT[told] == talks.ids_BT[told]).all())
    assert torch.equal(lessons.conversations(0).ids_BT, talks.ids_BT)


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


def test_attributes_are_classes_in_range() -> None:
    for seed in range(50):
        levels = attributes_of(photo_of(seed))
        assert len(levels) == len(SIZES)
        for at, (level, size) in enumerate(zip(levels, SIZES, strict=True)):
            assert 0 <= level < size or (at == 2 and level == UNSEEN and photo_of(seed).pattern == "plain")


def test_names_of_residents_tell_their_looks() -> None:
    """The table behind the names has a subject's lasting attributes, exactly as its photos have them."""
    for name, subject in residents().items():
        levels = attributes_of_subject(subject)
        photo = random_photo(np.random.default_rng(0), subject)
        for lasting, shown in zip(levels, attributes_of(photo), strict=True):
            assert lasting in (shown, UNSEEN), name
        assert UNSEEN not in levels[-7:]


def test_only_names_have_looks(base: Path) -> None:
    lessons = lessons_of(base)
    tokenizer = TextTokenizer.train(corpus(1_000_000, 300), Recipe().language.text_vocabulary)
    vocabulary = Vocabulary.of(small_config(Recipe(), tokenizer.size), tokenizer.eot, tokenizer.size)
    known = replace(lessons, sequences=Sequences(vocabulary, tokenizer, 128)).names()
    assert int((known >= 0).any(dim=1).sum()) == len(residents())


@pytest.mark.parametrize("individuals", [0.0, 1.0])
def test_meetings_tell_which_looks_are_shared(base: Path, individuals: float) -> None:
    """A meeting stands where the answer's first word is predicted; a lookalike differs, the one who is asked for never does."""
    roomy = replace(TINY.language, individuals=individuals, residents=1.0, batch_understanding=16, text_room=200)
    batch = replace(lessons_of(base), recipe=roomy).conversations(0)
    assert batch.meets_M2 is not None and batch.known_MA is not None and batch.attributes_BA is not None
    assert len(batch.meets_M2) > 10
    yes = load(str(base)).sequences.text((" Yes",))
    said = []
    for row, place in batch.meets_M2.tolist():
        assert batch.labels_BT[row, place] == IGNORE != batch.labels_BT[row, place + 1]
        said.append(batch.labels_BT[row, place + 1 : place + 1 + len(yes)].tolist() == yes)
    shared_MA = shared_looks(batch.known_MA, batch.attributes_BA[batch.meets_M2[:, 0]])
    assert said == (shared_MA != 0).all(dim=1).tolist() and 0 < sum(said) < len(said)


def test_a_lookalike_weighs_as_much_as_a_stranger() -> None:
    shared_MA = torch.tensor([[1, 1, 1, 0], [1, 1, 1, IGNORE]])
    unsure = match_loss(torch.zeros(2, 4), shared_MA)
    right = match_loss(torch.where(shared_MA == 1, 9.0, -9.0), shared_MA)
    assert torch.isclose(unsure, torch.tensor(2 * np.log(2), dtype=torch.float32)) and right < 1e-3
    assert match_loss(torch.where(shared_MA == 1, 9.0, 9.0), shared_MA) > 8
    stranger_MA = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    missed = torch.tensor(
        [[9.0, 9.0, 9.0, 9.0], [9.0, -9.0, -9.0, -9.0]]
    )  # the lookalike alone was taken for the resident
    assert torch.isclose(match_loss(missed, stranger_MA), torch.tensor(9.0 / 2), atol=1e-2)
    assert match_loss(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.long)) == 0


def test_unknown_attributes_weigh_nothing() -> None:
    logits_BL = torch.randn(2, sum(SIZES))
    known_BA = torch.tensor([attributes_of(photo_of(1)), attributes_of(photo_of(2))])
    half_BA = torch.stack([known_BA[0], torch.full_like(known_BA[1], IGNORE)])
    assert torch.allclose(attribute_loss(logits_BL, half_BA), attribute_loss(logits_BL[:1], known_BA[:1]))
    assert attribute_loss(logits_BL, torch.full_like(known_BA, IGNORE)) == 0


def test_first_two_words_of_an_answer_weigh_more() -> None:
    labels_BT = torch.tensor([[IGNORE, 5, 6, 7, IGNORE, 8]])
    places_M, asked_M, weights_M = asked_places(labels_BT, shift=1, first=4.0)
    assert places_M[:4].tolist() == [0, 1, 2, 4] and asked_M[:4].tolist() == [5, 6, 7, 8]
    assert weights_M[:4].tolist() == [4.0, 4.0, 1.0, 4.0] and weights_M[4:].sum() == 0


def test_names_of_residents_are_single_ids() -> None:
    """The recipe's text vocabulary has room for them, so that one row can stand for one individual."""
    recipe = Recipe()
    tokenizer = TextTokenizer.train(corpus(1_000_000, 300), recipe.language.text_vocabulary)
    assert all(len(tokenizer.encode_text(f" {name}")) == 1 for name in residents())
