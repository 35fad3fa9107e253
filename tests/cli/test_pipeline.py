"""Asking and drawing with published concepts: names become rows by position, only for concepts of the call."""

from dataclasses import replace

import pytest
import torch
from PIL import ImageChops

from unictokens.backbones.base import Decoding, Sampling
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError
from unictokens.pipeline import Pipeline

LAYOUT = TokenLayout(shared=2, generation=1, understanding=1)
QUICK = Sampling(steps=3, guidance=2.0)
SHORT = Decoding(max_tokens=6)


def bundle(backbone: ShowO, name: str, seed: int) -> ConceptBundle:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(shape, generator=generator) for shape in ((5, 32), (5, 32), (5,))]
    card = ConceptCard(name=name, class_word="dog", layout=LAYOUT, backbone=BackboneStamp.of(backbone.info))
    return ConceptBundle(ConceptTokens(LAYOUT, *rows), card)


def same(first: object, second: object) -> bool:
    return ImageChops.difference(first, second).getbbox() is None  # type: ignore[arg-type]


def test_each_name_means_its_own_concept(tiny_backbone: ShowO) -> None:
    bo, miru = bundle(tiny_backbone, "bo", 1), bundle(tiny_backbone, "miru", 2)
    both = Pipeline(tiny_backbone, [bo, miru])
    (alone,) = Pipeline(tiny_backbone, [bo]).draw("A photo of <bo>.", [5], QUICK)
    (drawn,) = both.draw("A photo of <bo>.", [5], QUICK)
    (other,) = both.draw("A photo of <miru>.", [5], QUICK)
    assert same(alone, drawn) and not same(drawn, other)
    assert both.draw("<bo> and <miru>", [5], QUICK)


def test_pictures_do_not_depend_on_how_many_are_drawn(tiny_backbone: ShowO) -> None:
    pipeline = Pipeline(tiny_backbone, [bundle(tiny_backbone, "bo", 1)])
    many = pipeline.draw("A photo of <bo>.", list(range(10)), QUICK)
    assert same(many[9], pipeline.draw("A photo of <bo>.", [9], QUICK)[0])


def test_other_names_stay_text_and_are_said(tiny_backbone: ShowO, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Pipeline(tiny_backbone, [bundle(tiny_backbone, "bo", 1)])
    assert pipeline.ask("Is <kai> with <bo>?", decoding=SHORT) == pipeline.ask("Is <kai> with <bo>?", decoding=SHORT)
    assert "<kai>" in caplog.text and "plain text" in caplog.text
    with pytest.raises(ConceptError, match="<bo>"):
        pipeline.draw("A photo of bo.", [0], QUICK)


def test_concepts_of_another_backbone_are_refused(tiny_backbone: ShowO) -> None:
    mine = bundle(tiny_backbone, "bo", 1)
    foreign = replace(mine, card=replace(mine.card, backbone=replace(mine.card.backbone, fingerprint="f" * 64)))
    with pytest.raises(ConceptError, match="ffffffffffff"):
        Pipeline(tiny_backbone, [foreign])
    with pytest.raises(ConceptError, match="twice"):
        Pipeline(tiny_backbone, [mine, mine])


def test_without_concepts_the_backbone_answers_alone(tiny_backbone: ShowO) -> None:
    pipeline = Pipeline(tiny_backbone, [])
    assert pipeline.names == ()
    assert isinstance(pipeline.ask("What is this?", decoding=SHORT), str)
    assert len(pipeline.draw("A red hat.", [0, 1], QUICK)) == 2


def test_many_questions_get_the_answers_they_get_alone(tiny_backbone: ShowO) -> None:
    pipeline = Pipeline(tiny_backbone, [bundle(tiny_backbone, "bo", 1)])
    asked = [(f"Is <bo> here, {'really, ' * at}now?", None) for at in range(18)]
    answers = pipeline.ask_all(asked, SHORT)
    assert answers == [pipeline.ask(question, None, decoding=SHORT) for question, _ in asked]
