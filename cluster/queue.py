"""Which run is where: the one place that lanes ask for work and tell how it goes. Knows neither Ray, nor training, nor disks.

A run is handed out with a ticket (run, lane, number of the attempt). Words that come with an older ticket are late and not
heard. Every call may arrive twice (whoever asked cannot know whether the answer or the question was lost) and means the same
then. Every change goes to `record` as a small JSON-able object; a queue that is fed these again is the same queue.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from cluster.run_status import Answer, Handed, RunStateName, RunStatus, Ticket
from cluster.standings import Standings
from cluster.waiting_line import WaitingLine
from unictokens.learn import Learned, RunPlan
from unictokens.training.session import Progress

MAX_STRIKES = 3
Record = dict[str, Any]


class RunQueue:
    """Hands out each run to one lane at a time and remembers how it went.

    A run whose lane died, or that failed, is handed out again. `max_strikes` of these without a saved epoch in between set it
    aside. Before the last strike it goes to a lane of its own: who is in a pack with a run that kills lanes must not suffer.
    """

    def __init__(
        self,
        runs: Sequence[RunPlan] = (),
        max_strikes: int = MAX_STRIKES,
        record: Callable[[Record], None] = lambda record: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plans: dict[str, RunPlan] = {}
        self._standings = Standings()
        self._max_strikes = max_strikes
        self._record = record
        self._clock = clock
        self._line = WaitingLine(self._plans, self._standings, max_strikes, clock)
        self._held: dict[str, set[str]] = {}
        self._asks: dict[str, str] = {}
        self._open: set[str] = set()
        self._stopping = False
        self._enter(runs)

    # What the host of a queue asks for.

    def add(self, runs: Sequence[RunPlan]) -> None:
        """More runs, behind those that wait; known ones are left alone. Not recorded: whoever adds plans keeps them."""
        self._enter([run for run in runs if run.name not in self._plans])

    def stop(self) -> None:
        """Hand out nothing more; running runs end after their epoch."""
        self._stopping = True

    def stop_run(self, name: str, reason: str) -> None:
        """Take a run out of the job: one that waits at once, one that runs after its epoch."""
        status = self._standings[name]
        if not status.over:
            self._set(name, state="stopped", error=reason)

    def hold(self, key: str) -> None:
        """Lanes without work wait from now on instead of ending: more runs may come."""
        self._open.add(key)

    def release(self, key: str) -> None:
        """The opposite of `hold`."""
        self._open.discard(key)

    def lane_lost(self, lane: str, reason: str, strike: bool = True) -> tuple[str, ...]:
        """A lane is no more: its runs wait again, in front, or are set aside; returns their names.

        strike  whether its runs may have been the cause; a node that went away had other reasons
        """
        mine = tuple(sorted(self._held.get(lane, ())))
        for name in mine:
            self._struck(name, f"its lane died ({reason})", f"see logs/{lane}.log", int(strike), front=True)
        self._held.pop(lane, None)
        return mine

    def give_up(self, reason: str) -> None:
        """No lane will come: whatever still waits has failed."""
        for name in [status.name for status in self._standings if status.state == "waiting"]:
            self._set(name, state="failed", error=reason)

    # What lanes ask and tell.

    def take(self, lane: str, ask: str) -> Answer:
        """The next run for `lane`; the same `ask` gets the same answer.

        A run that begins at a stage of another one is ready once that one has left the stage, or is over, however it ended.
        """
        if (name := self._asks.get(f"{lane} {ask}")) is not None:
            return Answer(self._handed(name), True)
        name = None if self._stopping else self._line.next(self._held.get(lane, ()))
        if name is None:
            return Answer(None, self.pending)
        self._set(name, state="running", lane=lane, attempts=self._standings[name].attempts + 1, ask=ask)
        return Answer(self._handed(name), True)

    def valid(self, ticket: Ticket) -> bool:
        """Whether the ticket is the newest of its run, and the run is under way."""
        status = self._standings.get(ticket.run)
        return (
            status is not None
            and status.state == "running"
            and (status.lane, status.attempts) == (ticket.lane, ticket.attempt)
        )

    def report(self, ticket: Ticket, progress: Progress) -> None:
        """Where a running run is."""
        if not self.valid(ticket):
            return
        status = self._standings[ticket.run]
        moved = (status.stage, status.epoch) != (progress.stage, progress.epoch)
        self._set(
            ticket.run,
            durable=moved,
            stage=progress.stage,
            epoch=progress.epoch,
            epochs=progress.epochs,
            done=round(self._plans[ticket.run].done(progress), 6),
            losses=dict(progress.losses),
        )

    def goes_on(self, ticket: Ticket) -> bool:
        """An epoch is saved; whether the run shall go on."""
        if not self.valid(ticket):
            return False
        if self._standings[ticket.run].strikes:
            self._set(ticket.run, strikes=0)
        return not self._stopping

    def finish(self, ticket: Ticket, learned: Learned) -> None:
        """A run is over: published, or stopped by the job."""
        if not self.valid(ticket):
            return
        status = self._standings[ticket.run]
        finished = learned.status == "finished"
        self._set(
            ticket.run,
            state="finished" if finished else "stopped",
            stage=learned.stage or status.stage,
            epoch=learned.epoch or status.epoch,
            done=1.0 if finished else status.done,
            losses=dict(learned.losses) or status.losses,
            version=learned.version,
            seconds=learned.seconds,
            error="",
        )

    def fail(self, ticket: Ticket, error: str, lasting: bool = True) -> None:
        """A run cannot go on, for a reason of its own; a `lasting` one (its data) is not worth another attempt."""
        if self.valid(ticket):
            strikes = self._max_strikes if lasting else 1
            self._struck(ticket.run, error, f"see logs/{ticket.lane}.log", strikes, front=False)

    def give_back(self, ticket: Ticket, delay: float = 0.0) -> None:
        """A lane cannot keep a run, through no fault of the run: it waits again, for `delay` seconds at least."""
        if not self.valid(ticket):
            return
        self._set(ticket.run, state="waiting")
        if delay:
            self._line.join_later(ticket.run, delay)
        else:
            self._line.join(ticket.run, front=True)

    # What watchers look at.

    @property
    def pending(self) -> bool:
        """Whether runs wait, for whatever, or more may come: who has nothing to do may ask again later."""
        return bool(self._standings.count("waiting") or self._open) and not self._stopping

    @property
    def stopping(self) -> bool:
        """Whether the job is being stopped."""
        return self._stopping

    def counts(self) -> dict[RunStateName, int]:
        """How many runs are in each state."""
        return self._standings.counts()

    def done(self) -> float:
        """Share of the whole job that is behind, 0 to 1; a run that is over counts whole."""
        return self._standings.done()

    def changed_since(self, version: int) -> tuple[int, list[RunStatus]]:
        """What changed since `version` (0: everything), and the version now."""
        return self._standings.changed_since(version)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do: no run waits, is under way, or was merely stopped with its job."""
        return all(status.over and (status.state != "stopped" or status.error) for status in self._standings)

    def statuses(self) -> tuple[RunStatus, ...]:
        """Every run, in the order of the plan. For the end: it copies everything."""
        return tuple(self._standings)

    def knows(self, name: str) -> bool:
        """Whether there is a run of this name."""
        return name in self._plans

    @property
    def held_open(self) -> tuple[str, ...]:
        """Who asked lanes to wait for more."""
        return tuple(sorted(self._open))

    # The way to disk and back.

    def snapshot(self) -> Iterator[Record]:
        """Records that make an empty queue of the same plans into this one."""
        for status in self._standings:
            default = RunStatus(name=status.name, concept=status.concept)
            if status != default:
                before = asdict(default)
                yield {
                    "run": status.name,
                    **{key: value for key, value in asdict(status).items() if before[key] != value},
                }

    def restore(self, records: Iterable[Record]) -> None:
        """Do what `record` was told, then wait for calls as if nothing had happened. Unknown runs are left out."""
        for record in records:
            status = self._standings.get(record.get("run", ""))
            if status is not None:
                changes = {key: value for key, value in record.items() if key != "run"}
                self._standings.restore(replace(status, **changes))
        self._settle()

    def reopen(self, failed: bool = False) -> None:
        """A new driver: whatever was under way or stopped by the last one waits again, with `failed` also what was set aside."""
        for status in tuple(self._standings):
            if status.state == "running" or (status.state == "stopped" and not status.error):
                self._set(status.name, state="waiting")
            elif failed and status.state == "failed":
                self._set(status.name, state="waiting", strikes=0, error="")
        self._settle()

    # Inside.

    def _enter(self, runs: Sequence[RunPlan]) -> None:
        self._plans.update((run.name, run) for run in runs)
        self._standings.enter([RunStatus(name=run.name, concept=run.concept) for run in runs])
        for run in runs:
            self._line.join(run.name)

    def _settle(self) -> None:
        """Rebuild everything that follows from the statuses: those that were begun before come first."""
        self._line = WaitingLine(self._plans, self._standings, self._max_strikes, self._clock)
        self._held, self._asks = {}, {}
        self._standings.recount()
        waiting = [status for status in self._standings if status.state == "waiting"]
        for status in sorted(waiting, key=lambda status: not status.attempts):
            self._line.join(status.name)
        for status in self._standings:
            if status.state == "running":
                self._hand(status)

    def _handed(self, name: str) -> Handed:
        status = self._standings[name]
        return Handed(self._plans[name], Ticket(name, status.lane, status.attempts))

    def _struck(self, name: str, error: str, where: str, strikes: int, front: bool) -> None:
        total = self._standings[name].strikes + strikes
        if strikes and total >= self._max_strikes:
            times = f", {total} times" if strikes == 1 and total > 1 else ""
            self._set(name, state="failed", strikes=total, error=f"{error}{times}: {where}"[:500])
        else:
            self._set(name, state="waiting", strikes=total, error=error if strikes else "")
            self._line.join(name, front)

    def _set(self, name: str, durable: bool = True, **changes: Any) -> None:
        before = self._standings[name]
        after = replace(before, **changes)
        if after == before:
            return
        if durable:
            self._record({"run": name, **changes})
        self._standings.put(after)
        if after.over or after.stage != before.stage:
            self._line.moved(name)
        if after.state == before.state and after.lane == before.lane:
            return
        if before.state == "running":
            self._held.get(before.lane, set()).discard(name)
            self._asks.pop(f"{before.lane} {before.ask}", None)
        if after.state == "running":
            self._hand(after)

    def _hand(self, status: RunStatus) -> None:
        self._held.setdefault(status.lane, set()).add(status.name)
        self._asks[f"{status.lane} {status.ask}"] = status.name
