"""What many concepts a day would need, by arithmetic from what was measured: machines, money, keepers, disk. Nothing is trained.

A machine is whatever trained a pack in the measured time: two cores, or a card. Only the bundle's size is measured here.
"""

import argparse

import torch

from benchmarks.timing import Result, Row
from cluster.lane_desk import REPORT_SECONDS
from unictokens.concepts.bundle import ConceptBundle, bundle_to_bytes
from unictokens.concepts.card import BackboneStamp, ConceptCard
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens

DAY = 86_400
LAYOUT = TokenLayout(shared=16, generation=8, understanding=8)
ROWS = 33
"""The identifier and the paper's 32 soft tokens."""
ADAM = 3
"""A saved state has every learned number and two moments of it, or of those that its stage changes."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--concepts", type=int, default=1_000_000, help="a day")
    parser.add_argument(
        "--train", type=float, required=True, help="seconds of a machine per concept, its share of a pack"
    )
    parser.add_argument("--pack", type=int, required=True, help="concepts that a machine trains together")
    parser.add_argument("--epochs", type=int, required=True, help="of a concept, all stages together")
    parser.add_argument("--width", type=int, required=True, help="numbers of a learned row")
    parser.add_argument("--price", type=float, required=True, help="of a machine per hour; an assumption")
    parser.add_argument("--beyond", type=float, default=0.026, help="seconds of a lane per concept beside training")
    parser.add_argument("--keeper", type=float, default=0.00063, help="seconds of the keeper per call")
    parser.add_argument("--plan", type=float, default=0.0011, help="seconds of a core to plan a concept")
    parser.add_argument("--report", type=float, default=REPORT_SECONDS, help="seconds between reports within an epoch")


def measure(options: argparse.Namespace) -> Result:
    """A row per part: its share of a day for one concept, and how much of it all concepts need."""
    concepts = options.concepts
    # A run is open for as long as its whole pack trains, and speaks once in every interval.
    reports = options.pack * options.train / options.report
    calls = 2 * options.epochs + 2
    bundle = _bundle_bytes(options.width)
    state = ADAM * 4 * (2 * ROWS * options.width + ROWS)
    machines = concepts * (options.train + options.beyond) / DAY
    rows: list[Row] = [
        {
            "part": "machines",
            "of one concept": options.train + options.beyond,
            "unit": "s",
            "a day": machines,
            "needs": "machines",
        },
        {"part": "their price", "of one concept": machines * 24 * options.price / concepts, "unit": "money"},
        {"part": "runs open at once", "a day": machines * options.pack, "needs": "runs"},
        _cores("keeper, starts, epochs and ends", calls * options.keeper, concepts),
        _cores("keeper, reports within epochs", reports * options.keeper, concepts),
        _cores("plan", options.plan, concepts),
        _bytes("store", bundle, concepts),
        _bytes("states saved at epochs' ends, at most", options.epochs * state, concepts),
    ]
    rows[1] |= {"a day": machines * 24 * options.price, "needs": "money"}
    return Result(
        "cluster day", {name: getattr(options, name) for name in ("concepts", "train", "pack", "price")}, tuple(rows)
    )


def _cores(part: str, seconds: float, concepts: int) -> Row:
    return {"part": part, "of one concept": seconds, "unit": "s", "a day": concepts * seconds / DAY, "needs": "cores"}


def _bytes(part: str, size: float, concepts: int) -> Row:
    written = concepts * size
    return {
        "part": part,
        "of one concept": size / 1e6,
        "unit": "MB",
        "a day": written / 1e9,
        "needs": "GB",
        "MB/s": written / 1e6 / DAY,
    }


def _bundle_bytes(width: int) -> int:
    rows = torch.zeros(ROWS, width)
    stamp = BackboneStamp(name="none", width=width, vocabulary=1000, fingerprint="f" * 64)
    card = ConceptCard(name="bo", class_word="thing", layout=LAYOUT, backbone=stamp)
    return len(bundle_to_bytes(ConceptBundle(ConceptTokens(LAYOUT, rows, rows.clone(), torch.zeros(ROWS)), card)))
