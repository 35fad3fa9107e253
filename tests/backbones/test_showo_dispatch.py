"""Layers that lie elsewhere compute the same."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from unictokens.backbones.base import AnswerRequest, Decoding, GenerationRequest, Sampling
from unictokens.backbones.showo.dispatch import spread
from unictokens.backbones.showo.weights import load
from unictokens.concepts.bank import ConceptBank
from unictokens.errors import ConfigError

pytestmark = pytest.mark.skipif(find_spec("accelerate") is None, reason="accelerate is not installed")

MIB = 2**20
TABLES = 26 * MIB
"""The mini base's tables, image tokenizer and one layer take 25.1 MiB, every further layer 3.0."""


def test_a_backbone_with_layers_in_files_answers_draws_and_teaches_the_same(tmp_path: Path) -> None:
    whole, apart = load("mini"), load("mini")
    places = spread(apart, {"cpu": TABLES + 9 * MIB, "disk": 100 * MIB}, tmp_path)
    assert places[0] == "cpu" and places[-1] == "disk"
    assert apart.language_model.showo.model.layers[-1].mlp.fc1.weight.device.type == "meta"
    nobody, answers, pictures, gradients = ConceptBank.empty(256), [], [], []
    codes_N = torch.arange(64)
    from benchmarks.shapes import drawing, question
    from benchmarks.train_step import random_tokens

    for backbone in (whole, apart):
        answers.append(backbone.answer([AnswerRequest(("What is it?",), codes_N)], nobody, Decoding(max_tokens=8)))
        (picture,) = backbone.generate([GenerationRequest(("A cat.",), 1)], nobody, Sampling(steps=3))
        pictures.append(picture.codes_N)
        tokens = random_tokens(whole, torch.device("cpu"))
        leaves = [part.requires_grad_() for part in tokens.tensors()]
        batch = backbone.collate([question(codes_N)], [drawing(codes_N, 0)])
        losses = backbone.losses(batch, ConceptBank.stack([type(tokens)(tokens.layout, *leaves)]))
        total = losses.understanding_total_U.sum() + losses.generation_total_G.sum()
        gradients.append(torch.autograd.grad(total, leaves))
    assert answers[0] == answers[1] and torch.equal(*pictures)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="too little for the tables"):
        spread(load("mini"), {"cpu": 10 * MIB})
    with pytest.raises(ConfigError, match="do not fit"):
        spread(load("mini"), {"cpu": TABLES + 4 * MIB, "disk": 100 * MIB})
