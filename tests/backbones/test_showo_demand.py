"""What is predicted of a step is what it takes: weights exactly, kept bytes and operations nearly."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.shapes import drawing, question
from benchmarks.train_step import FastStep, random_tokens
from unictokens.backbones.base import GenerationRequest, GenerationSample, MaskDraw, Sampling, UnderstandingSample
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.config import PHI_1_5, ShowOConfig, to_json
from unictokens.backbones.showo.demand import KEPT, Demand, Load
from unictokens.backbones.showo.weights import load, random_backbone
from unictokens.concepts.bank import ConceptBank


@pytest.fixture(scope="module")
def mini() -> ShowO:
    return load("mini")


@pytest.fixture(scope="module")
def demand() -> Demand:
    return Demand("mini")


Samples = tuple[list[UnderstandingSample], list[tuple[GenerationSample, MaskDraw]]]


def samples(backbone: ShowO, questions: int, drawings: int) -> Samples:
    generator = torch.Generator().manual_seed(0)
    codes_PN = torch.randint(0, backbone.config.codebook_size, (questions + drawings, 64), generator=generator)
    asked = [question(codes_N) for codes_N in codes_PN[:questions]]
    return asked, [drawing(codes_N, seed) for seed, codes_N in enumerate(codes_PN[questions:])]


def load_of(demand: Demand, given: Samples) -> Load:
    asked = [demand.question(sample.turns) for sample in given[0]]
    return sum([*asked, *(demand.drawing(sample.prompt) for sample, _ in given[1])], Load())


def test_weights_are_counted_exactly(mini: ShowO, demand: Demand, tiny_backbone: ShowO, tiny_base: Path) -> None:
    assert demand.weight_bytes == mini.weight_bytes
    assert Demand(str(tiny_base), torch.bfloat16).weight_bytes == tiny_backbone.weight_bytes // 2
    assert demand.image_tokenizer_bytes == sum(parameter.nbytes for parameter in mini.magvit.parameters())


@pytest.mark.parametrize(("questions", "drawings"), [(4, 0), (0, 2), (4, 2)])
def test_a_step_keeps_and_computes_what_was_said(mini: ShowO, demand: Demand, questions: int, drawings: int) -> None:
    given = samples(mini, questions, drawings)
    batch = mini.collate(*given)
    tokens = random_tokens(mini, torch.device("cpu"))
    bank = ConceptBank.stack([type(tokens)(tokens.layout, *(part.requires_grad_() for part in tokens.tensors()))])
    mini.losses(batch, bank)  # which reads the images
    weights = {parameter.untyped_storage().data_ptr() for parameter in mini.language_model.parameters()}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(note, lambda same: same):
        losses = mini.losses(batch, bank)
        (losses.understanding_total_U.sum() + losses.generation_total_G.sum()).backward()
    load = load_of(demand, given)
    D, I, L, P = 256, 1024, 6, 67  # noqa: E741
    told = 4 * L * ((load.question_ids + load.drawing_ids) * (KEPT * D + I) + questions * 2 * P * D)
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert told == pytest.approx(found, rel=0.05)
    assert demand.step_bytes(load) > told
    assert demand.step_flops(load) == pytest.approx(counter.get_total_flops(), rel=0.15)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, mini: ShowO) -> tuple[ShowO, Demand]:
    """Narrow, with the images, the code book and the vocabulary of the published 512 px model."""
    phi = {**PHI_1_5, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = ShowOConfig(phi={**phi, "num_key_value_heads": 4})
    backbone = random_backbone(replace(config, magvit=replace(config.magvit, base=32)), mini.tokenizer, seed=0)
    folder = tmp_path_factory.mktemp("long")
    (folder / "config.json").write_text(to_json(backbone.config))
    (folder / "tokenizer.json").write_text(mini.tokenizer.to_json())
    return backbone, Demand(str(folder))


def peak(work: Callable[[], object]) -> int:
    """Most bytes that were given out at once beyond those before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events: Any = seen.profiler.kineto_results.events()  # type: ignore[union-attr]
    now, most = 0, 0
    for _, change in sorted((each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]"):
        now += change
        most = max(most, now)
    return most


def test_images_that_no_cache_keeps_stay_until_their_pass_has_ended(long: tuple[ShowO, Demand]) -> None:
    backbone, demand = long
    codes_PN = torch.randint(0, 8192, (8, 1024), generator=torch.Generator().manual_seed(0))
    backbone.keep_prefixes(0)
    step = FastStep(backbone, random_tokens(backbone, torch.device("cpu")), codes_PN, asked=8, drawn=0)
    step()
    load, found = load_of(demand, ([question(codes_N) for codes_N in codes_PN], [])), peak(step)
    read = demand.reading_bytes(8)
    assert demand.step_bytes(load) + read == pytest.approx(found, rel=0.2)
    assert demand.step_bytes(load) < found


def test_a_drawing_takes_what_was_said(long: tuple[ShowO, Demand]) -> None:
    backbone, demand = long
    nobody, requests = ConceptBank.empty(backbone.info.width), [GenerationRequest(("A dog.",), at) for at in range(2)]
    found = peak(lambda: backbone.generate(requests, nobody, Sampling(steps=2, guidance=5.0)))
    assert demand.drawing_bytes(2) == pytest.approx(found, rel=0.1)
    picture = peak(lambda: backbone.decode(torch.zeros(1, 1024, dtype=torch.long)))
    assert demand.picture_bytes == pytest.approx(picture, rel=0.1)
