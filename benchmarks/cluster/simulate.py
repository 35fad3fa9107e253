"""A job of any size as a simulation: lanes, packs and one keeper, with costs that `cluster lanes` and `cluster queue` measured.

Nothing is trained and no Ray is started. A lane works on a pack; epochs end, the keeper hears of them in the order of time, one
after the other, and a lane waits for its answers.
"""

import argparse
import heapq
from dataclasses import dataclass

from benchmarks.timing import Result, Row
from cluster.lane_desk import REPORT_SECONDS

REPORTS = 1 / REPORT_SECONDS
"""Of a run per second; nobody waits for them, the keeper hears them all the same."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What was measured, in seconds.

    start    from the opening of a lane to its first question
    beyond   of a lane for each concept, beside its training and the keeper
    keeper   of the keeper for a call
    train    of a lane for each concept alone, its share of a pack
    epochs   of a concept
    """

    start: float
    beyond: float
    keeper: float
    train: float
    epochs: int


@dataclass(frozen=True)
class Outcome:
    """Seconds of the whole job; shares of it in which the keeper was busy and lanes trained."""

    seconds: float
    keeper: float
    lanes: float


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--lanes", default="1,8,64", help="numbers of lanes, with commas")
    parser.add_argument("--concepts", default="10,1000,100000", help="numbers of concepts, with commas")
    parser.add_argument("--pack", type=int, default=8)
    parser.add_argument("--start", type=float, required=True, help="seconds until a lane works")
    parser.add_argument("--beyond", type=float, required=True, help="seconds of a lane per concept beside its training")
    parser.add_argument("--keeper", type=float, required=True, help="seconds of the keeper per call")
    parser.add_argument("--train", type=float, required=True, help="seconds that a concept trains")
    parser.add_argument("--epochs", type=int, default=24, help="of a concept, all stages together")


def measure(options: argparse.Namespace) -> Result:
    """A row per number of concepts and lanes."""
    names = ("start", "beyond", "keeper", "train", "epochs")
    costs = Costs(**{name: getattr(options, name) for name in names})
    rows: list[Row] = []
    for concepts in (int(number) for number in options.concepts.split(",")):
        for lanes in (int(number) for number in options.lanes.split(",")):
            found = simulate(costs, concepts, lanes, options.pack)
            ideal = concepts * costs.train / lanes
            rows.append(
                {
                    "concepts": concepts,
                    "lanes": lanes,
                    "s": found.seconds,
                    "times the training alone": found.seconds / ideal,
                    "keeper busy %": 100 * found.keeper,
                    "lanes train %": 100 * found.lanes,
                }
            )
    return Result("cluster simulate", {name: getattr(options, name) for name in (*names, "pack")}, tuple(rows))


def simulate(costs: Costs, concepts: int, lanes: int, pack: int) -> Outcome:
    """Work through a job. A lane's pack shares its time evenly; a place that is free is filled at once."""
    width = min(pack, -(-concepts // lanes))
    left, free_at, busy, ends = concepts, 0.0, 0.0, 0.0
    # (when an epoch of the run ends, its lane, its epochs so far); a lane's runs advance side by side.
    events = [(costs.start, lane, 0) for lane in range(lanes) for _ in range(width)]
    heapq.heapify(events)
    epoch = width * costs.train / costs.epochs
    reports = REPORTS * epoch * costs.keeper
    while events:
        now, lane, done = heapq.heappop(events)
        if done == 0:  # it asks for a run
            if not left:
                continue
            left -= 1
            work, calls = width * costs.beyond, 1
        elif done == costs.epochs:
            work, calls = 0.0, 2  # "may I go on", and the end
        else:
            work, calls = 0.0, 1
        told = reports if done else 0.0
        began = max(now, free_at)
        free_at = began + calls * costs.keeper + told
        busy += calls * costs.keeper + told
        after = began + calls * costs.keeper + work
        if done == costs.epochs:
            ends = max(ends, after)
            heapq.heappush(events, (after, lane, 0))
        else:
            heapq.heappush(events, (after + epoch, lane, done + 1))
    return Outcome(ends, busy / ends, concepts * costs.train / (lanes * ends))
