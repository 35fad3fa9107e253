"""The pool of lanes: as many as work and room permit, replaced with patience, given up with a reason. F9 for lanes that hang
so badly that they cannot end themselves; capacity that comes and goes."""

import threading
import time
from dataclasses import dataclass, field

import pytest
from cluster_fakes import Clock

from cluster.keeper import LaneSign
from cluster.lanes import MAX_LOSSES, START_SECONDS, LanePool, Limits, Loss
from cluster.nodes import LaneShape, Node, room
from cluster.run_status import Ticket
from unictokens.errors import CheckpointError, ClusterError


@dataclass
class Opened:
    """Lanes that live until they are told how to end."""

    names: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    ends: dict[str, tuple[threading.Event, list[BaseException]]] = field(default_factory=dict)

    def open(self, name: str) -> int:
        done, errors = self.ends.setdefault(name, (threading.Event(), []))
        self.names.append(name)
        done.wait(30)
        if errors:
            raise errors[0]
        return 1

    def end(self, name: str) -> None:
        self.killed.append(name)

    def lost(self, error: BaseException) -> bool:
        return isinstance(error, ConnectionError)

    def finish(self, name: str, error: BaseException | None = None) -> None:
        done, errors = self.ends[name]
        errors += [error] if error is not None else []
        done.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opener() -> Opened:
    return Opened()


@pytest.fixture
def pool(opener: Opened, clock: Clock) -> LanePool:
    return LanePool(opener, Limits(least=1, most=4, timeout=100.0, width=2, stall=50.0), clock)


def living(pool: LanePool, opener: Opened, count: int) -> list[str]:
    """Wait until so many lanes were ever opened; their names."""
    until = time.monotonic() + 10
    while len(opener.names) < count and time.monotonic() < until:
        time.sleep(0.005)
    return opener.names


def speak(pool: LanePool, name: str, runs: int = 2, age: float = 0.0) -> None:
    tickets = tuple(Ticket(f"r{number}", name, 1) for number in range(runs))
    pool.hear({name: (LaneSign(lane=name, node="n", host="h", process=1, tickets=tickets), age)})


def reaped(pool: LanePool) -> list[Loss]:
    """What the pool says of lanes that were told to end just now."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if losses := pool.reap():
            return losses
        time.sleep(0.005)
    return []


def test_lanes_open_as_work_and_room_permit(pool: LanePool, opener: Opened) -> None:
    pool.open(waiting=3, room=9)
    assert pool.count == 2, "two runs each"
    pool.open(waiting=3, room=9)
    assert pool.count == 2, "those that are starting will take them"
    for name in living(pool, opener, 2):
        speak(pool, name)
    pool.open(waiting=30, room=3)
    assert pool.count == 3, "the cluster has room for three"
    pool.open(waiting=30, room=9)
    assert pool.count == 4, "and grew, and four is the limit"
    pool.open(waiting=30, room=1)
    assert pool.count == 4, "no lane is closed because a cluster shrinks"


def test_dead_lanes_are_replaced_with_patience_and_in_the_end_given_up(
    pool: LanePool, opener: Opened, clock: Clock
) -> None:
    for number in range(MAX_LOSSES + 1):
        pool.open(waiting=1, room=1)
        assert pool.count == (0 if number > 1 else 1), "the first is replaced at once, the others after a moment"
        clock.now += 60.0
        pool.open(waiting=1, room=1)
        name = living(pool, opener, number + 1)[-1]
        speak(pool, name)
        opener.finish(name, ConnectionError("killed"))
        assert reaped(pool) == [Loss(name, "killed")]
    clock.now += 60.0
    pool.open(waiting=1, room=1)
    assert pool.count == 0 and pool.worn_out == "killed"
    pool.progress()
    pool.open(waiting=1, room=1)
    assert pool.count == 1


def test_a_cluster_that_may_grow_hears_what_is_wanted(opener: Opened, clock: Clock) -> None:
    pool = LanePool(opener, Limits(least=1, most=3, timeout=100.0, width=2, stall=50.0, grows=True), clock)
    pool.open(waiting=50, room=0)
    assert pool.count == 3 and pool.working == 0
    for name in living(pool, opener, 3):
        opener.finish(name, ConnectionError("was not placed in 300 s"))
    until = time.monotonic() + 10
    while pool.count and time.monotonic() < until:
        pool.reap()
    assert pool.count == 0 and not pool.worn_out, "no room is no fault of lanes"


def test_what_keeps_a_lane_from_starting_is_raised(pool: LanePool, opener: Opened) -> None:
    pool.open(waiting=1, room=1)
    opener.finish(living(pool, opener, 1)[0], CheckpointError("no such weights"))
    with pytest.raises(CheckpointError, match="no such weights"):
        reaped(pool)


def test_a_lane_that_stands_still_is_ended_and_its_runs_are_free(pool: LanePool, opener: Opened, clock: Clock) -> None:
    pool.open(waiting=4, room=2)
    still, starting = living(pool, opener, 2)
    speak(pool, still)
    clock.now += 55.0
    assert pool.reap() == [], "it may end itself yet"
    clock.now += 10.0
    (loss,) = reaped(pool)
    assert loss.lane == still and "stood still" in loss.reason
    until = time.monotonic() + 10
    while opener.killed != [still] and time.monotonic() < until:
        time.sleep(0.005)
    assert opener.killed == [still] and pool.count == 1, "one that starts has longer"
    clock.now += 1.2 * START_SECONDS
    assert reaped(pool)[0].lane == starting


def test_no_capacity_is_given_up_with_what_is_missing(pool: LanePool, opener: Opened, clock: Clock) -> None:
    missing = "a lane takes 1 GPU and 4 CPU cores; 1 nodes have 4 CPU cores and 0 GPUs"
    pool.check(waiting=3, room=0, missing=missing)
    clock.now += 90.0
    pool.check(waiting=3, room=0, missing=missing)
    pool.check(waiting=0, room=0, missing=missing)
    clock.now += 90.0
    pool.check(waiting=3, room=0, missing=missing)
    clock.now += 101.0
    with pytest.raises(ClusterError, match=r"room for 0 .*1 GPU and 4 CPU cores"):
        pool.check(waiting=3, room=0, missing=missing)
    pool.open(waiting=1, room=1)
    speak(pool, living(pool, opener, 1)[0])
    pool.check(waiting=3, room=0, missing=missing)


def test_room_counts_whole_processes_on_nodes_that_stay() -> None:
    nodes = (Node(id="head", cpus=0, gpus=0), Node(id="a", cpus=7, gpus=0), Node(id="b", cpus=4, gpus=2))
    assert room(nodes, LaneShape(processes=1, cpus=2, gpus=0)) == 5
    assert room(nodes, LaneShape(processes=2, cpus=2, gpus=0)) == 2
    assert room(nodes, LaneShape(processes=1, cpus=2, gpus=1)) == 2
    leaving = (*nodes[:2], Node(id="b", cpus=4, gpus=2, leaves_in=30.0))
    assert room(leaving, LaneShape(processes=1, cpus=2, gpus=1)) == 0
