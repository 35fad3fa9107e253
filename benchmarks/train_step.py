"""A training step: the published algorithm against ours, in turn, for one concept."""

import argparse

import torch
from torch import Generator, Tensor

from benchmarks.plain import GENERATION_WEIGHT, UNDERSTANDING_WEIGHT, PlainTrainer
from benchmarks.shapes import LAYOUT, drawing, photos, question, shape
from benchmarks.timing import Result, Row, in_turn
from unictokens.backbones.base import Backbone
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.batch import ShowOBatch
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import OptimConfig
from unictokens.training.optimizer import TrainedRows

QUESTIONS = 4
"""Understanding samples of a warm-up step; a later step has one, and one drawing (published batch sizes)."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--shape", default="trial", help="mini, trial or full")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=3)


def measure(options: argparse.Namespace) -> Result:
    """Median seconds of both, and their ratio; photos are encoded by the plain path in each step, by ours once before."""
    device = torch.device(options.device)
    backbone = shape(options.shape).make().to(options.device)
    tokens = random_tokens(backbone, device)
    pictures = photos(backbone, QUESTIONS).to(device)
    codes_PN = backbone.encode(pictures).cpu()
    trainer = PlainTrainer(backbone, tokens)
    rows: list[Row] = []
    for stage, asked, drawn in (("warm-up", QUESTIONS, 0), ("later", 1, 1)):
        fast = FastStep(backbone, tokens, codes_PN, asked, drawn)
        turns = [question(codes_PN[at]).turns[0] for at in range(asked)]
        told = [(pictures[at], turn.question, turn.answer) for at, turn in enumerate(turns)]
        sample, hidden = drawing(codes_PN[0], 0)
        shown = [(pictures[0], sample.prompt, hidden)] * drawn
        works = (
            lambda told=told, shown=shown: trainer.step(told, shown),
            lambda count=asked + drawn: backbone.encode(pictures[:1].expand(count, -1, -1, -1)),
            fast,
        )
        plain, encoding, ours = in_turn(works, options.rounds, device)
        rows.append(
            {
                "step": stage,
                "plain s": plain,
                "of it encoding s": encoding,
                "ours s": ours,
                "ratio": plain / ours,
                "ratio without encoding": (plain - encoding) / ours,
            }
        )
    return Result(
        "train_step", {"shape": options.shape, "device": options.device, "rounds": options.rounds}, tuple(rows)
    )


def random_tokens(backbone: Backbone, device: torch.device) -> ConceptTokens:
    """Rows of a whole concept, as long as image rows."""
    generator, K, D = Generator().manual_seed(0), LAYOUT.total, backbone.info.width
    embed_KD, head_KD = ((torch.randn(K, D, generator=generator) * 0.02).to(device) for _ in range(2))
    return ConceptTokens(LAYOUT, embed_KD, head_KD, torch.zeros(K, device=device))


class FastStep:
    """Our step for a pack of `width` concepts, called again and again; each has `asked` questions and `drawn` drawings."""

    def __init__(
        self, backbone: ShowO, tokens: ConceptTokens, codes_PN: Tensor, asked: int, drawn: int, width: int = 1
    ) -> None:
        self._backbone, self._drawn = backbone, drawn
        trained = tuple(range(tokens.rows))
        self.rows = [TrainedRows(tokens, trained, OptimConfig(lr=1e-3)) for _ in range(width)]
        count = len(codes_PN)
        self._questions = [question(codes_PN[at % count], slot) for slot in range(width) for at in range(asked)]
        self._drawings = [drawing(codes_PN[0], at, slot) for slot in range(width) for at in range(drawn)]

    def collate(self) -> ShowOBatch:
        """The batch of a step."""
        return self._backbone.collate(self._questions, self._drawings)

    def __call__(self) -> float:
        """The loss, summed over the concepts."""
        width = len(self.rows)
        losses = self._backbone.losses(self.collate(), ConceptBank.stack([rows.tokens() for rows in self.rows]))
        weight = UNDERSTANDING_WEIGHT if self._drawn else 1.0
        parts = [weight * _means(losses.understanding_total_U, losses.understanding_count_U, width)]
        if self._drawn:
            parts.append(GENERATION_WEIGHT * _means(losses.generation_total_G, losses.generation_count_G, width))
        loss = torch.stack(parts).sum()
        loss.backward()
        for rows in self.rows:
            rows.step()
        return float(loss.detach())


def _means(totals: Tensor, counts: Tensor, width: int) -> Tensor:
    return (totals.view(width, -1).sum(1) / counts.view(width, -1).sum(1)).sum()
