"""Lessons: what is hidden, who sees what, and where somebody is met."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_recipe import TINY, lessons_of

from unictokens.backbones.showo.attention import packed_mask, understanding_mask
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import IGNORE, Vocabulary
from unictokens.backbones.showo.weights import load
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.data.toyland import residents
from unictokens.pretrain.assemble import small_config
from unictokens.pretrain.attributes import (
    shared_looks,
)
from unictokens.pretrain.corpus import corpus
from unictokens.pretrain.lessons import packed_positions
from unictokens.pretrain.recipe import Recipe


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


def test_names_of_residents_are_single_ids() -> None:
    """The recipe's text vocabulary has room for them, so that one row can stand for one individual."""
    recipe = Recipe()
    tokenizer = TextTokenizer.train(corpus(1_000_000, 300), recipe.language.text_vocabulary)
    assert all(len(tokenizer.encode_text(f" {name}")) == 1 for name in residents())
