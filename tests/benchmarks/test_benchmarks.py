"""What the benchmarks compare is the same work done in two ways, and their command prints it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.answer import plain_answer
from benchmarks.plain import PlainTrainer
from benchmarks.sampler import PROMPT, plain_drawing
from benchmarks.schedule import useful_flops
from benchmarks.shapes import drawing, photos, question, shape
from benchmarks.train_step import FastStep, random_tokens
from unictokens.backbones.base import GenerationRequest, Sampling
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.bank import ConceptBank
from unictokens.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("asked", "drawn"), [(2, 0), (1, 1)])
def test_the_plain_step_and_ours_learn_the_same_rows(asked: int, drawn: int) -> None:
    backbone = shape("mini").make()
    tokens = random_tokens(backbone, torch.device("cpu"))
    pictures = photos(backbone, asked)
    codes_PN = backbone.encode(pictures)
    plain, ours = PlainTrainer(backbone, tokens), FastStep(backbone, tokens, codes_PN, asked, drawn)
    turns = [question(codes_PN[at]).turns[0] for at in range(asked)]
    told = [(pictures[at], turn.question, turn.answer) for at, turn in enumerate(turns)]
    sample, hidden = drawing(codes_PN[0], 0)
    for _ in range(3):
        expected = plain.step(told, [(pictures[0], sample.prompt, hidden)] * drawn)
        assert ours() == pytest.approx(expected, rel=1e-5)
    for mine, theirs in zip(ours.rows[0].tokens().detach().tensors(), plain.rows, strict=True):
        # Adam divides by the gradient's size, so that rounding shows in full where a gradient is nearly zero.
        assert float((mine - theirs).norm() / theirs.norm()) <= 1e-3


def test_plain_drawing_and_answering_give_the_same_as_ours(tiny_backbone: ShowO) -> None:
    nobody, sampling = ConceptBank.empty(tiny_backbone.info.width), Sampling(steps=4, guidance=2.0)
    drawn = tiny_backbone.generate([GenerationRequest((PROMPT,), seed, ()) for seed in range(2)], nobody, sampling)
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    plain_BN = plain_drawing(tiny_backbone, 2, sampling, generators)
    assert torch.equal(plain_BN, torch.stack([one.codes_N for one in drawn]))
    assert plain_drawing(tiny_backbone, 2, sampling).shape == plain_BN.shape
    prefix = tiny_backbone.sequences.image_prefix(list(range(301, 317)))
    assert len(plain_answer(tiny_backbone, prefix, [1, 2, 3], 5)) == 5


def test_command_prints_a_json_object() -> None:
    command = [sys.executable, "-m", "benchmarks", "train_step", "--shape", "mini", "--rounds", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["name"] == "train_step" and [row["step"] for row in found["rows"]] == ["warm-up", "later"]
    assert all(row["ratio"] == pytest.approx(row["plain s"] / row["ours s"]) for row in found["rows"])


def test_unknown_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="shape 'huge'"):
        shape("huge")


def test_needed_operations_are_those_that_a_step_makes() -> None:
    """Counted by hand from the sizes, against torch's count of a real step of two concepts."""
    backbone = shape("mini").make()
    codes_PN = backbone.encode(photos(backbone, 1))
    for asked, drawn in ((4, 0), (1, 1)):
        step = FastStep(backbone, random_tokens(backbone, torch.device("cpu")), codes_PN, asked, drawn, width=2)
        step()  # the image is read before
        with FlopCounterMode(display=False) as counter:
            step()
        needed, made = useful_flops(backbone, step.collate()), counter.get_total_flops()
        assert 0.9 * made <= needed <= 1.02 * made


def test_a_day_of_many_concepts_is_the_sum_of_its_parts() -> None:
    command = [sys.executable, "-m", "benchmarks", "cluster", "day", "--json", "--concepts", "86400", "--train", "9"]
    command += ["--beyond", "1", "--pack", "4", "--epochs", "3", "--width", "8", "--price", "0.5", "--keeper", "0.001"]
    done = subprocess.run([*command, "--report", "2"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {row["part"]: row for row in json.loads(done.stdout)["rows"]}
    needed = [found[part]["a day"] for part in ("machines", "their price", "runs open at once")]
    assert needed == pytest.approx([10, 10 * 24 * 0.5, 40]), "one concept a second, which takes ten"
    keeper = [found[f"keeper, {part}"]["a day"] for part in ("starts, epochs and ends", "reports within epochs")]
    assert keeper == pytest.approx([0.008, 0.001 * 4 * 9 / 2])
