"""Lanes whose training is a recorded time: the real queue on Ray, desks, leases, journal and store; no step is computed.

Each lane is a Ray task with a desk and a heart of its own. What a concept costs beyond its training is the lane's time without
it; what the keeper's process computed for a concept says how many lanes one keeper bears.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.cluster.queue import STAGES, learned, planned, progress
from benchmarks.timing import Result, Row
from cluster.engines import EngineSettings
from cluster.folder import JobFolder
from cluster.heart import Heart
from cluster.host import OBJECT_STORE_BYTES, heard
from cluster.keeper import Keeper, LaneSign, prepare
from cluster.lane import QueueEar
from cluster.lane_desk import Desk, RunSession
from cluster.lane_settings import LaneSettings
from cluster.run_status import Ticket
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard, Provenance
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.learn import Learned, Learning, RunPlan, published_version
from unictokens.output import Output
from unictokens.tracking.tracked import Tracked
from unictokens.training.pack import Ended

STAMP = BackboneStamp(name="none", width=256, vocabulary=1000, fingerprint="f" * 64)
LAYOUT = TokenLayout(shared=16, generation=8, understanding=8)
STALL = 600.0


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--lanes", default="1,2,4", help="numbers of lanes, with commas")
    parser.add_argument("--concepts", type=int, default=50, help="of each lane")
    parser.add_argument("--seconds", type=float, default=0.0, help="that a concept trains")


def measure(options: argparse.Namespace) -> Result:
    """A row per number of lanes."""
    import ray

    rows = []
    # Without its dashboard, which only watches over the groups of processes that no recorded lane has.
    ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=OBJECT_STORE_BYTES)
    try:
        for lanes in (int(lanes) for lanes in options.lanes.split(",")):
            with tempfile.TemporaryDirectory() as place:
                rows.append(_row(ray, Path(place), lanes, options.concepts, options.seconds))
    finally:
        ray.shutdown()
    return Result("cluster lanes", {"seconds": options.seconds}, tuple(rows))


def _row(ray: Any, place: Path, lanes: int, each: int, seconds: float) -> Row:
    plan = planned(lanes * each)
    folder = JobFolder(place, plan.name)
    prepare(folder, plan)
    keeper = ray.remote(num_cpus=0, max_concurrency=1)(_TimedKeeper).remote(folder)
    work = ray.remote(num_cpus=0)(_work)
    settings = [_settings(place, plan.called, f"lane-{number}") for number in range(lanes)]
    before = heard(keeper.spent.remote())
    spent = [heard(done) for done in [work.remote(one, keeper, seconds) for one in settings]]
    service = heard(keeper.spent.remote()) - before
    states = [status.state for status in heard(keeper.statuses.remote())]
    assert states == ["finished"] * len(plan.runs), "a recorded run cannot fail"
    ray.kill(keeper)
    beyond = sum(one[0] for one in spent) / len(plan.runs) - seconds
    return {
        "lanes": lanes,
        "concepts": len(plan.runs),
        "beyond training, s per concept": beyond,
        "lane computes, ms per concept": 1000 * sum(one[1] for one in spent) / len(plan.runs),
        "keeper computes, ms per concept": 1000 * service / len(plan.runs),
    }


class _TimedKeeper(Keeper):
    """The keeper, and what its process has computed so far in seconds."""

    def spent(self) -> float:
        return time.process_time()


def _settings(place: Path, job: str, name: str) -> LaneSettings:
    return LaneSettings(
        name=name,
        job=job,
        word="",
        data=place,
        engine=EngineSettings(backbone="none"),
        output=place,
        width=1,
        cpus=1,
        gpus=0,
        stall=STALL,
        tracking=Tracked(place, None, ()),
    )


def _work(settings: LaneSettings, keeper: Any, seconds: float) -> tuple[float, float]:
    """A lane from its first question to its end: seconds of the clock, and those that its process computed."""
    sign = LaneSign(lane=settings.name, node="n", host="h", process=0)
    heart = Heart(QueueEar(keeper, None), lambda idle, tickets: sign, settings.stall)
    heart.start()
    desk = _Desk(settings, keeper, cast(Any, _Engine()), cast(Any, None), heart)
    desk.seconds = seconds
    began, computed = time.perf_counter(), time.process_time()
    while (run := desk.take()) is not None:
        cast(Any, run).train()
        desk.hand_back(Ended(run))
    heart.stop()
    return time.perf_counter() - began, time.process_time() - computed


class _Desk(Desk):
    """A desk whose runs only take time."""

    seconds = 0.0

    def _learning(self, plan: RunPlan, ticket: Ticket) -> Learning:
        session = RunSession(self._queue, ticket, self._heart)
        return cast(Learning, _Recorded(plan, ticket, Output(self._settings.output), session, self.seconds))


@dataclass(frozen=True)
class _Info:
    fingerprint: str = STAMP.fingerprint


@dataclass(frozen=True)
class _Backbone:
    info: _Info = _Info()


@dataclass(frozen=True)
class _Engine:
    backbone: _Backbone = _Backbone()


@dataclass(eq=False)
class _Recorded:
    """A run that sleeps for as long as it trained, and publishes rows of the usual size."""

    plan: RunPlan
    ticket: Ticket
    output: Output
    session: RunSession
    seconds: float

    @property
    def run(self) -> "_Recorded":
        return self

    def train(self) -> None:
        pause = self.seconds / sum(epochs for _, epochs in STAGES)
        for stage, epochs in STAGES:
            for epoch in range(1, epochs + 1):
                time.sleep(pause)
                self.session.report(progress(self.plan.concept, stage, epoch, epochs))
                self.session.should_stop()

    def finish(self, confirm: Any) -> Learned:
        assert published_version(self.output, self.plan, STAMP.fingerprint) is None
        confirm()
        self.output.store.publish(_bundle(self.plan), once=True)
        return learned(self.ticket, self.seconds)


def _bundle(plan: RunPlan) -> ConceptBundle:
    rows = torch.zeros(33, STAMP.width)
    provenance = Provenance(config_hash=plan.config_hash, dataset_digest=plan.dataset_digest)
    card = ConceptCard(name=plan.concept, class_word="thing", layout=LAYOUT, backbone=STAMP, provenance=provenance)
    return ConceptBundle(ConceptTokens(LAYOUT, rows, rows.clone(), torch.zeros(33)), card)
