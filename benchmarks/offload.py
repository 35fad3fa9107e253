"""A partitioned, offloaded transformer against a whole one: what bringing the weights costs, and how packs share it."""

import argparse

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.shapes import photos, question, shape
from benchmarks.timing import Result, Row, in_turn
from benchmarks.train_step import QUESTIONS, random_tokens
from unictokens.concepts.bank import ConceptBank
from unictokens.config import OptimConfig
from unictokens.memory import MIB
from unictokens.training.engine import Engine, LocalEngine
from unictokens.training.optimizer import TrainedRows


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--shape", default="trial", help="mini, trial or full")
    parser.add_argument("--widths", default="1,4,16", help="concepts in a pack, with commas")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=3)


def measure(options: argparse.Namespace) -> Result:
    """Median seconds of a warm-up step of both, in one process; every layer is brought twice, there and back."""
    from cluster.deepspeed_engine import Led, Worker

    device = torch.device(options.device)
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
    whole, apart = shape(options.shape).make().to(options.device), shape(options.shape).make()
    codes_PN = whole.encode(photos(whole, QUESTIONS)).cpu()
    layers = sum(parameter.nbytes for parameter in apart.language_model.showo.model.layers.parameters())
    brought = 2 * layers + apart.language_model.embed_VD.nbytes + apart.language_model.head_VD.nbytes
    engines: list[Engine] = [LocalEngine(whole, device), LocalEngine(Led(Worker(apart, device, "cpu")), device)]
    rows: list[Row] = []
    for width in (int(width) for width in options.widths.split(",")):
        steps = [_Step(engine, codes_PN, width) for engine in engines]
        plain, offloaded = in_turn(steps, options.rounds, device)
        rows.append(
            {
                "concepts": width,
                "whole s": plain,
                "offloaded s": offloaded,
                "more, s per concept": (offloaded - plain) / width,
                "MiB brought per concept": brought / MIB / width,
            }
        )
    return Result("offload", {"shape": options.shape, "device": options.device, "rounds": options.rounds}, tuple(rows))


class _Step:
    """A warm-up step of a pack through an engine."""

    def __init__(self, engine: Engine, codes_PN: Tensor, width: int) -> None:
        self._engine = engine
        tokens = random_tokens(engine.backbone, engine.device)
        every = tuple(range(tokens.rows))
        self._rows = [TrainedRows(tokens, every, OptimConfig(lr=1e-3)) for _ in range(width)]
        self._asked = [question(codes_N, slot) for slot in range(width) for codes_N in codes_PN]

    def __call__(self) -> None:
        batch = self._engine.backbone.collate(self._asked, [])
        losses = self._engine.losses(batch, ConceptBank.stack([rows.tokens() for rows in self._rows]))
        self._engine.backward(losses.understanding_total_U.sum() / losses.understanding_count_U.sum())
        for rows in self._rows:
            rows.step()
