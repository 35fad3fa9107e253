"""From the spool to a server: in order, in batches, over outages and restarts, nothing lost and nothing twice.

F18 of the fault list (a server that is down, slow or broken) is here and in `test_outages`; F19 (runs that a killed process
left open) is `test_a_run_whose_writer_died_is_closed_and_goes_on_when_it_is_taken_over` and the real kill in `test_outages`.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_tracking import FakeServer

from unictokens.tracking.base import Ancestor, Entry
from unictokens.tracking.jsonl import EVENTS_FILE, JsonlTracker
from unictokens.tracking.server import Away
from unictokens.tracking.spool import Left, Spools, locked
from unictokens.tracking.uploader import KILLED, BackOff, Uploader, drain

URI = "http://tracking"


class Clock:
    """Seconds since 1970 that pass when told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def spools(tmp_path: Path) -> Spools:
    return Spools(tmp_path)


def begun(spools: Spools, name: str = "bo", above: tuple[Ancestor, ...] = ()) -> JsonlTracker:
    return spools.tracker(spools.root / "runs" / name, Entry(name=name, above=above, tags={"concept": "bo"}))


def whole_run(spools: Spools, name: str = "bo", above: tuple[Ancestor, ...] = (), steps: int = 50) -> None:
    """Settings, numbers, a picture, a file, a version and an end."""
    tracker = begun(spools, name, above)
    folder = spools.root / "runs" / name
    (folder / "bundle").write_bytes(b"rows")
    tracker.params({f"p{number}": number for number in range(150)})
    for step in range(steps):
        tracker.metrics(step, {"loss": step / 2, "stage": 1.0})
    tracker.image("preview/0", 3, folder / "bundle")
    tracker.artifact(folder / "bundle")
    tracker.published("bo", 4, folder / "bundle")
    tracker.close("finished")


def test_everything_arrives_in_order_in_few_requests(spools: Spools) -> None:
    whole_run(spools, steps=2_000)
    server = FakeServer()
    sent = Uploader(spools, URI, server).send_waiting()
    (run,) = server.runs.values()
    assert sent == (spools.root / "runs/bo" / EVENTS_FILE).stat().st_size
    assert run.numbers() == [
        (name, step, value) for step in range(2_000) for name, value in (("loss", step / 2), ("stage", 1.0))
    ]
    assert run.told[-3:] == [("preview/0", 3, "bundle"), "bundle", ("bo", 4, b"rows")]
    assert run.status == "finished" and len(server.calls) < 20
    assert not spools.waiting()


def test_a_child_brings_its_parents_where_they_are_not_known_yet(spools: Spools) -> None:
    sweep = begun(spools, "sweep")
    job = begun(spools, "job", sweep.above)
    whole_run(spools, "bo", job.above)
    server = FakeServer()
    Uploader(spools, URI, server).send("runs/bo")
    by_name = {run.name: (mark, run) for mark, run in server.runs.items()}
    assert by_name["bo"][1].parent == by_name["job"][0] and by_name["job"][1].parent == by_name["sweep"][0]
    job.close("finished")
    Uploader(spools, URI, server).send_waiting()
    begun(spools, "miru", job.above)
    Uploader(spools, URI, server).send_waiting()
    assert len(server.runs) == 4 and by_name["job"][1].status == "finished", (
        "a late child does not open its parent again"
    )


@pytest.mark.parametrize("fault", [True, None], ids=["before", "after"])
def test_an_outage_at_any_call_loses_nothing_and_repeats_only_the_batch_it_hit(
    spools: Spools, fault: bool | None
) -> None:
    whole_run(spools)
    calm = FakeServer()
    Uploader(spools, "calm", calm).send("runs/bo")
    (expected,) = calm.runs.values()
    for number in range(len(calm.calls)):
        server, address = FakeServer(), f"{URI}/{number}"
        server.away = [False] * number + [fault]
        with pytest.raises(Away):
            Uploader(spools, address, server).send("runs/bo")
        Uploader(spools, address, server).send("runs/bo")  # as after a restart: a new one, with nothing in memory
        (run,) = server.runs.values()
        assert list(dict.fromkeys(map(repr, run.told))) == list(map(repr, expected.told))
        assert run.status == "finished" and len(server.calls) <= len(calm.calls) + 3


def test_numbers_that_are_sent_again_are_the_very_same(spools: Spools) -> None:
    begun(spools).metrics(1, {"loss": 2.0})
    server = FakeServer()
    server.away = [False, None]
    with pytest.raises(Away):
        Uploader(spools, URI, server).send("runs/bo")
    Uploader(spools, URI, server).send("runs/bo")
    (run,) = server.runs.values()
    first, again = run.told
    assert first == again  # name, step, value and time: the server keeps such a number once


def test_a_repeated_epoch_is_not_told_twice(spools: Spools) -> None:
    tracker = begun(spools)
    for step in (10, 20, 30):
        tracker.metrics(step, {"loss": 1.0 / step})
    tracker.close("stopped")
    tracker = begun(spools)
    for step in (20, 30, 40):
        tracker.metrics(step, {"loss": 1.0 / step})
    tracker.metrics(40, {"loss": 7.0})
    server = FakeServer()
    Uploader(spools, URI, server).send("runs/bo")
    (run,) = server.runs.values()
    assert [step for _, step, _ in run.numbers()] == [10, 20, 30, 40, 40]
    assert run.status == "running"


def test_what_the_server_refuses_for_ever_does_not_keep_the_rest_waiting(spools: Spools) -> None:
    tracker = begun(spools)
    for step in range(20):
        tracker.metrics(step, {"loss": 1.0 + step, **({"bad": 1.0} if step == 7 else {})})
    tracker.artifact(spools.root / "runs/bo/never-written")
    with (spools.root / "runs/bo" / EVENTS_FILE).open("a") as file:
        file.write('{"seq": 50, "time": "2026-01-01T00:00:00+00:00", "event": "image"}\n{"seq": 51, "tor\n')
    tracker.close("failed")
    server = FakeServer()
    server.refuses = {"bad"}
    uploader = Uploader(spools, URI, server)
    uploader.send("runs/bo")
    (run,) = server.runs.values()
    assert len(run.numbers()) == 20 and run.status == "failed"
    assert uploader.left(["runs/bo"]) == Left(events=0, runs=0, refused=3)


def test_a_lost_or_damaged_cursor_costs_only_work(spools: Spools) -> None:
    whole_run(spools)
    server = FakeServer()
    Uploader(spools, URI, server).send("runs/bo")
    (run,) = server.runs.values()
    told = list(run.told)
    (cursor,) = (spools.root / "tracking/sent").rglob("*.json")
    cursor.write_bytes(cursor.read_bytes()[:30])
    Uploader(spools, URI, server).send("runs/bo")
    assert run.told == told * 2 and run.status == "finished"


def test_a_spool_that_was_begun_anew_is_another_run(spools: Spools) -> None:
    server = FakeServer()
    for steps in (3, 1):
        (spools.root / "runs/bo" / EVENTS_FILE).unlink(missing_ok=True)
        whole_run(spools, steps=steps)
        Uploader(spools, URI, server).send("runs/bo")
    assert [len(run.numbers()) for run in server.runs.values()] == [6, 2]


def test_another_server_can_be_filled_afterwards(spools: Spools) -> None:
    whole_run(spools)
    first, second = FakeServer(), FakeServer()
    Uploader(spools, "first", first).send_waiting()
    Uploader(spools, "second", second).send(spools.all()[0])
    assert next(iter(first.runs.values())).told == next(iter(second.runs.values())).told


def test_a_run_whose_writer_died_is_closed_and_goes_on_when_it_is_taken_over(spools: Spools) -> None:
    begin = (
        "import os, sys; from pathlib import Path\n"
        "from unictokens.tracking.base import Entry; from unictokens.tracking.spool import Spools\n"
        "root = Path(sys.argv[1])\n"
        "Spools(root).tracker(root / 'runs/bo', Entry(name='bo')).metrics(1, {'loss': 2.0})\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", begin, str(spools.root)], check=False)
    clock = Clock(os.stat(spools.root / "runs/bo" / EVENTS_FILE).st_mtime + 5)
    server = FakeServer()
    uploader = Uploader(spools, URI, server, clock=clock)
    uploader.send_waiting()
    (run,) = server.runs.values()
    assert run.status == "running", "another lane may take it over in a moment"
    clock.now += 120
    uploader.send_waiting()
    assert (run.status, run.reason) == ("stopped", KILLED) and not spools.waiting()

    tracker = begun(spools)
    uploader.send_waiting()
    assert (run.status, run.reason) == ("running", "")
    clock.now += 3600
    uploader.send_waiting()
    assert run.status == "running", "its writer lives, however silent it is"
    tracker.close("finished")
    uploader.send_waiting()
    assert run.status == "finished" and len(server.runs) == 1


def test_each_host_sends_its_own_and_orphans_after_a_while(spools: Spools) -> None:
    whole_run(spools)
    clock = Clock(os.stat(spools.root / "runs/bo" / EVENTS_FILE).st_mtime)
    server = FakeServer()
    elsewhere = Uploader(spools, URI, server, host="another-machine", clock=clock)
    assert elsewhere.send_waiting() == 0
    clock.now += 61
    assert elsewhere.send_waiting() > 0


def test_two_uploaders_at_once_send_every_number_once(spools: Spools) -> None:
    job = begun(spools, "job")
    for number in range(12):
        whole_run(spools, f"run-{number}", job.above, steps=20)
    server = FakeServer()
    threads = [threading.Thread(target=drain, args=(Uploader(spools, URI, server), spools.all, 20.0)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.runs) == 13
    assert all(len(run.numbers()) == 40 for run in server.runs.values() if run.name != "job")


def test_draining_ends_in_time_and_says_what_is_left(spools: Spools) -> None:
    whole_run(spools, steps=3)
    server = FakeServer()
    server.away = [True] * 1000
    rests: list[float] = []
    left = drain(Uploader(spools, URI, server), spools.all, 3.5, rests.append)
    assert (left.events, left.runs, left.reason) == (9, 1, "nobody there")
    assert rests == [1.0, 2.0] and len(server.calls) == 3
    server.away = []
    assert drain(Uploader(spools, URI, server), spools.all, 5.0) == Left()


def test_a_server_that_is_away_is_asked_less_and_less_often() -> None:
    back = BackOff()
    assert [back.failed() for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    back.worked()
    assert back.failed() == 1.0


def test_a_lock_is_held_once_even_when_its_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as first, locked(path) as second:
        assert first and not second
    with locked(path) as free:
        assert free
        path.unlink()
        with locked(path) as anew, locked(path) as again:
            assert anew and not again
