"""The heart of a lane: a lane that stands still ends itself (F9), one that lost a run writes nothing of it (fencing)."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cluster_fakes import Clock

from cluster.heart import STALLED, Heart
from cluster.keeper import LaneSign, Orders
from cluster.lane_desk import RunSession
from cluster.lease import Lease, Owner, Watch, take_lease
from cluster.run_status import Ticket
from unictokens.training.session import Withdrawn

TICKET = Ticket("c0-x", "a", 1)


@dataclass
class Queue:
    """Answers every sign with `orders`."""

    orders: Orders | None = field(default_factory=Orders)
    heard: list[LaneSign] = field(default_factory=list)
    gone: bool = False

    def beat(self, sign: LaneSign) -> Orders | None:
        if self.gone:
            raise ConnectionError("its driver was killed")
        self.heard.append(sign)
        return self.orders


def sign(idle: float, tickets: tuple[Ticket, ...]) -> LaneSign:
    return LaneSign(lane="a", node="n", host="h", process=1, idle=idle, tickets=tickets)


@pytest.fixture
def ends() -> list[int]:
    """Exit codes with which the process would have ended."""
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def heart(queue: Queue, clock: Clock, ends: list[int]) -> Heart:
    return Heart(queue, sign, 60.0, clock, ends.append)


def lease(folder: Path, lane: str) -> Lease:
    taken = take_lease(folder, "lane", Owner("job", lane, 1, "far", 1, "1"), Watch(), lambda other: True)
    assert isinstance(taken, Lease)
    return taken


def test_a_lane_that_stands_still_ends_itself(heart: Heart, clock: Clock, ends: list[int]) -> None:
    for _ in range(10):
        clock.now += 50.0
        heart.moved()
        heart.tell()
    assert ends == []
    clock.now += 61.0
    heart.tell()
    assert ends == [STALLED]


def test_a_lane_without_a_job_ends(heart: Heart, queue: Queue, ends: list[int]) -> None:
    queue.orders = None
    heart.tell()
    assert ends == [], "a queue that is being started again is waited for"
    queue.gone = True
    heart.tell()
    assert ends == [STALLED]


def test_a_run_that_was_given_away_is_withdrawn(heart: Heart, queue: Queue, tmp_path: Path) -> None:
    heart.carry(TICKET, lease(tmp_path, "a"))
    heart.tell()
    assert queue.heard[-1].tickets == (TICKET,)
    heart.check(TICKET)
    queue.orders = Orders(lost=(TICKET.run,))
    heart.tell()
    with pytest.raises(Withdrawn, match="another lane"):
        heart.check(TICKET)
    heart.drop(TICKET)
    assert isinstance(take_lease(tmp_path, "lane", Owner("job", "b"), Watch()), Lease), "its lease was given back"


def test_a_stolen_lease_is_seen_before_anything_is_written(heart: Heart, tmp_path: Path) -> None:
    heart.carry(TICKET, lease(tmp_path, "a"))
    heart.confirm(TICKET)
    lease(tmp_path, "b")
    heart.check(TICKET)  # between two beats nobody has noticed
    with pytest.raises(Withdrawn):
        heart.confirm(TICKET)
    with pytest.raises(Withdrawn):
        heart.check(TICKET)
    other = Ticket("c1-x", "a", 1)
    heart.carry(other, lease(tmp_path / "other", "a"))
    lease(tmp_path / "other", "b")
    heart.renew()
    with pytest.raises(Withdrawn):
        heart.check(other)


def test_a_node_that_goes_away_is_left_for_good(heart: Heart, queue: Queue, clock: Clock, tmp_path: Path) -> None:
    heart.carry(TICKET, lease(tmp_path, "a"))
    heart.tell()
    assert not heart.leaving
    queue.orders = Orders(leave_in=30.0)
    heart.tell()
    assert heart.leaving
    queue.orders = Orders()  # a queue that was started again has not heard of it yet
    heart.tell()
    assert heart.leaving
    clock.now += 60.0
    heart.check(TICKET)  # late, but its own: what is saved now is still worth something
    heart.confirm(TICKET)


def test_a_run_leaves_within_an_epoch_only_when_its_node_goes_and_it_is_its_own(
    heart: Heart, queue: Queue, tmp_path: Path
) -> None:
    heart.carry(TICKET, lease(tmp_path, "a"))
    session = RunSession(None, TICKET, heart)
    assert not session.should_leave()
    queue.orders = Orders(leave_in=30.0)
    heart.tell()
    assert session.should_leave()
    lease(tmp_path, "b")
    with pytest.raises(Withdrawn, match="another lane"):
        session.should_leave()
