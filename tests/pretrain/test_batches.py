"""Batches: the same from any number of processes, in their order, and made ready one step ahead."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_recipe import TINY, lessons_of
from torch import Tensor

from unictokens.backbones.showo.weights import load
from unictokens.concepts.bank import ConceptBank
from unictokens.pretrain import __main__ as command
from unictokens.pretrain.batches import batches
from unictokens.pretrain.individuals import Directions, Noise
from unictokens.pretrain.language import Losses, Pupil, learning_rate, train_language_model
from unictokens.pretrain.lessons import Batch
from unictokens.pretrain.lineage import read_lineage


def tensors(batch: Batch) -> list[Tensor]:
    held = batch.held
    kept = [batch.ids_BT, batch.labels_BT, held.shares_BKF, held.sights_BKS, held.noise_BKD]
    more = (batch.turns_BT, batch.positions_BT, batch.attributes_BA, batch.meets_M2, batch.known_MA)
    return [*kept, *(tensor for tensor in more if tensor is not None)]


def test_processes_build_the_same_batches_in_their_order(base: Path) -> None:
    lessons = lessons_of(base)
    alone = list(batches(lessons, 3, 9, 1, tensors))
    assert len(alone) == 6 and [len(pair[0]) for pair in alone] == [5] * 6 and len(alone[0][1]) == 10
    for step, pair in zip(range(3, 9), alone, strict=True):
        expected = tensors(lessons.drawings(step)) + tensors(lessons.conversations(step))
        assert all(torch.equal(x, y) for x, y in zip(pair[0] + pair[1], expected, strict=True))
    for one, other in zip(alone, batches(lessons, 3, 9, 2, tensors), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(one[0] + one[1], other[0] + other[1], strict=True))


def test_noise_is_what_the_generator_would_have_given_next() -> None:
    rng = np.random.default_rng((4, 2))
    rng.random(3)
    noise = Noise(rng.bit_generator.state, (0.0, 0.5), 8)
    expected_BKD = rng.standard_normal((2, 13, 8), dtype=np.float32) * np.array([0.0, 0.5], np.float32)[:, None, None]
    assert torch.equal(noise.drawn(), torch.from_numpy(expected_BKD)) and torch.equal(noise.drawn(), noise.drawn())


@pytest.mark.parametrize("fused", [False, True])
def test_ready_batch_is_embedded_as_the_backbone_embeds_it(base: Path, fused: bool) -> None:
    """Rows of individuals stand where ids name them, labels are asked for where they are predicted; so with fused attention."""
    backbone, lessons = load(str(base)), replace(lessons_of(base), recipe=replace(TINY.language, individuals=1.0))
    torch.manual_seed(0)
    signs_CL = backbone.magvit.quantize.embedding
    pupil = Pupil(backbone.config, signs_CL, backbone.vocabulary, backbone.language_model, fused)
    losses = Losses(pupil, lessons, "cpu", lessons.recipe)
    batch = lessons.conversations(1)
    ready = losses.ready(batch)
    bank: ConceptBank = pupil.directions(batch.held, pupil.language.embed_VD)
    rows_L, places_L, held_L = ready.learned
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        x_BTD = pupil.language.embed(batch.ids_BT, bank, torch.arange(len(batch.ids_BT))[:, None])
        expected_BTD = pupil.language.hidden(x_BTD, lessons.mask(batch), batch.positions_BT)
    found_BTD, _ = losses._hidden(ready)
    assert len(rows_L) > 0 and torch.equal(x_BTD[rows_L, places_L], bank.embed_CKD[rows_L, held_L])
    assert torch.allclose(found_BTD, expected_BTD, atol=2e-2 if fused else 0.0) and ready.mask.dtype == (
        torch.bool if fused else torch.float32
    )


def test_fused_attention_gives_the_same_losses(base: Path) -> None:
    backbone, lessons = load(str(base)), lessons_of(base)
    told = []
    for fused in (False, True):
        torch.manual_seed(0)
        signs_CL = backbone.magvit.quantize.embedding
        pupil = Pupil(backbone.config, signs_CL, backbone.vocabulary, backbone.language_model, fused)
        losses = Losses(pupil, lessons, "cpu", TINY.language)
        parts, _ = losses.conversations(losses.ready(lessons.conversations(0)))
        told.append(
            [losses.drawings(losses.ready(lessons.drawings(0))).item(), *(loss.item() for loss in parts.values())]
        )
    assert np.allclose(told[0], told[1], rtol=2e-2) and np.isfinite(told).all()


def test_directions_are_the_same_for_noise_already_drawn(base: Path) -> None:
    held = lessons_of(base).conversations(2).held
    torch.manual_seed(0)
    directions, embed_VD = Directions(32), torch.randn(400, 32)
    drawn = replace(held, noise=held.noise_BKD)
    assert torch.equal(directions(held, embed_VD).embed_CKD, directions(drawn, embed_VD).embed_CKD)


def test_training_ends_by_the_clock(base: Path, tmp_path: Path) -> None:
    """At least one step is made, the cosine ends with the time, and the lineage tells how many steps there were."""
    backbone = load(str(base))
    _, steps = train_language_model(
        backbone.config, lessons_of(base), TINY.language, tmp_path / "state", "cpu", minutes=1e-6
    )
    assert steps == 1
    recipe = replace(TINY.language, warmup_steps=2, steps=10)
    assert learning_rate(recipe, 5, elapsed=1.0) == pytest.approx(recipe.final_lr)
    assert learning_rate(recipe, 2, elapsed=0.0) == pytest.approx(recipe.lr) == learning_rate(recipe, 1, elapsed=0.5)
    kept = replace(TINY, tokenizer=replace(TINY.tokenizer, steps=0))
    on = command.pretrain(kept, tmp_path / "run", "cpu", 2, start=str(base), minutes=0.03)
    last = read_lineage(on)[-1]
    assert last.recipe["language"]["steps"] >= 1 and "0.03 minutes" in last.note


def test_coded_photos_are_not_drawn_again(base: Path, tmp_path: Path) -> None:
    """Whoever has the codes needs no pixels, so that a machine can be given only these."""
    kept = replace(TINY, tokenizer=replace(TINY.tokenizer, steps=0))
    first = command.pretrain(kept, tmp_path / "first", "cpu", 1, start=str(base))
    for path in (tmp_path / "first").glob("*/codes-*/*.npy"):
        copy = tmp_path / "second" / path.relative_to(tmp_path / "first")
        copy.parent.mkdir(parents=True)
        copy.write_bytes(path.read_bytes())
    second = command.pretrain(kept, tmp_path / "second", "cpu", 1, start=str(base))
    assert (second / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
    assert not list((tmp_path / "second").glob("*/pixels"))
