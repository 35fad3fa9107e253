"""Full-size training in packs on a GPU: steps of the published schedule, concepts per hour, and how busy the card is."""

import argparse
import gc

import torch
from torch import Tensor

from benchmarks.plain import PlainTrainer
from benchmarks.shapes import drawing, photos, question, shape
from benchmarks.timing import Result, Row, in_turn
from benchmarks.train_step import FastStep, random_tokens
from unictokens.backbones.precision import DTYPES, set_products
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.batch import ShowOBatch
from unictokens.backbones.showo.layers import prefix_keys
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.memory import GIB

EPOCHS, QUESTIONS, DRAWINGS = 20, 300, 10
"""The paper's schedule: epochs per stage, understanding and generation samples of a concept."""
BATCH = 4
"""Questions of a warm-up step; a later step has one question and one drawing (published batch sizes)."""
WARM_UP_STEPS = EPOCHS * -(-QUESTIONS // BATCH)
LATER_STEPS = 2 * EPOCHS * max(QUESTIONS, DRAWINGS)
"""The shorter data is gone through again until the longer ends (published loader), in both later stages."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--shape", default="full", help="mini, trial or full")
    parser.add_argument("--widths", default="1,4,16", help="pack widths, with commas")
    parser.add_argument("--precision", choices=tuple(DTYPES), default="bf16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the card by its data sheet")
    parser.add_argument("--no-plain", action="store_true", help="leave the published algorithm out")


def measure(options: argparse.Namespace) -> Result:
    """A row per width; seconds are medians of a step of the whole pack, with all images' keys kept."""
    device = torch.device(options.device)
    backbone = shape(options.shape).make().to(device)
    pictures = photos(backbone, 2)
    codes_PN = backbone.encode(pictures)
    plain = None if options.no_plain else _plain_seconds(backbone, pictures.to(device), codes_PN, options.rounds)
    set_products(options.precision)
    backbone.to(device, DTYPES[options.precision])
    reading = in_turn([lambda: read_image(backbone, codes_PN[0])], options.rounds, device)[0]
    rows: list[Row] = []
    for width in (int(width) for width in options.widths.split(",")):
        rows.append(_pack(backbone, codes_PN, width, options) | {"image read s": reading})
        if plain is not None:
            rows[-1] |= {"plain fp32 concepts/hour": 3600 / plain, "ratio": rows[-1]["concepts/hour"] * plain / 3600}
    settings = {"shape": options.shape, "precision": options.precision, "peak TFLOP/s": options.peak}
    settings |= {
        "warm-up steps": WARM_UP_STEPS,
        "later steps": LATER_STEPS,
        "products TFLOP/s": products(device) / 1e12,
    }
    return Result("schedule", settings, tuple(rows))


def read_image(backbone: ShowO, codes_N: Tensor) -> Tensor:
    """Keys and values of one image, as a question about a new one has them computed."""
    ids = backbone.sequences.image_prefix(backbone.sequences.code_ids(codes_N))
    model = backbone.language_model
    return prefix_keys(model, model.frozen_rows(torch.tensor(ids, device=backbone.device)))


def products(device: torch.device) -> float:
    """Operations per second of a large bfloat16 product here."""
    n = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / in_turn([lambda: left @ right], 10, device)[0]


def useful_flops(backbone: ShowO, batch: ShowOBatch) -> float:
    """Operations that a step cannot do without, there and back: no padding, no image read before, no gradient of weights.

    Linear layers of real places (in the last layer queries and inner layer of labelled places only), attention of what
    each place sees at most, logits of labelled places.
    """
    phi, ids = backbone.language_model.showo.config, backbone.vocabulary
    D, I, L, V = phi.hidden_size, phi.intermediate_size, phi.num_hidden_layers, ids.size  # noqa: E741
    total, prefix = 0.0, backbone.config.num_vq_tokens + 3
    for block, first in ((batch.understanding, prefix), (batch.generation, 0)):
        if block is None:
            continue
        real = int((block.ids_BT[:, first:] != ids.pad).sum())
        text = 0 if first else backbone.config.text_length + 1 - block.dropped
        asked = int((block.labels_BT[:, first + text :] != IGNORE).sum())
        keys = first + real / block.rows
        total += 2 * real * (L * 2 * D**2 + (L - 1) * (2 * D**2 + 2 * D * I)) + 2 * asked * (2 * D**2 + 2 * D * I)
        total += 4 * keys * D * ((L - 1) * real + asked) + 2 * asked * V * D
    return 2 * total


def _pack(backbone: ShowO, codes_PN: Tensor, width: int, options: argparse.Namespace) -> Row:
    device, row, seconds, flops, places = backbone.device, {"width": width}, 0.0, 0.0, 0
    for name, asked, drawn, steps in (("warm-up", BATCH, 0, WARM_UP_STEPS), ("later", 1, 1, LATER_STEPS)):
        _forget(device)
        step = FastStep(backbone, random_tokens(backbone, device), codes_PN[:1], asked, drawn, width)
        batch = step.collate()
        took = in_turn([step], options.rounds, device)[0]
        needed = useful_flops(backbone, batch)
        row |= {f"{name} s": took, f"{name} TFLOP": needed / 1e12, f"{name} MFU": needed / took / options.peak / 1e12}
        if device.type == "cuda":
            row[f"{name} peak GiB"] = torch.cuda.max_memory_allocated(device) / GIB
        blocks = [block for block in (batch.understanding, batch.generation) if block is not None]
        seconds, flops, places = (
            seconds + steps * took,
            flops + steps * needed,
            places + steps * _places(backbone, blocks),
        )
    row |= {"MFU": flops / seconds / options.peak / 1e12, "tokens/s": places / seconds}
    return row | {"concepts/hour": 3600 * width / seconds}


def _places(backbone: ShowO, blocks: list) -> int:
    """Places of the published sequences, image prefixes included, padding not."""
    return sum(int((block.ids_BT != backbone.vocabulary.pad).sum()) for block in blocks)


def _plain_seconds(backbone: ShowO, pictures: Tensor, codes_PN: Tensor, rounds: int) -> float:
    """Seconds of the whole schedule of one concept by the published algorithm in float32."""
    trainer = PlainTrainer(backbone, random_tokens(backbone, backbone.device))
    turn, (sample, hidden) = question(codes_PN[0]).turns[0], drawing(codes_PN[0], 0)
    told, shown = [(pictures[0], turn.question, turn.answer)], [(pictures[0], sample.prompt, hidden)]
    works = [lambda: trainer.step(told * BATCH, []), lambda: trainer.step(told, shown)]
    warm_up, later = in_turn(works, max(1, rounds // 2), backbone.device)
    return WARM_UP_STEPS * warm_up + LATER_STEPS * later


def _forget(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
