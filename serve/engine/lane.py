"""One kind of work: requests that wait for it and requests under way, advanced together."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from serve.engine.counters import LaneCounters
from serve.engine.job import Job
from serve.engine.line import FairLine
from unictokens.errors import ServeError, UniCTokensError

log = logging.getLogger(__name__)

REMEMBER = 0.8
"""How much of the pace so far stays when a tick tells a new one."""


class Task(Protocol):
    """What a lane does with its requests; each ends (`Job.finish`, `Job.fail`) inside `begin` or `advance`."""

    def begin(self, job: Job) -> None:
        """First work on a request. An error ends this request."""
        ...

    def advance(self, jobs: Sequence[Job]) -> None:
        """One step of all. An error ends them all."""
        ...

    def leave(self, job: Job) -> None:
        """A request ends before its time."""
        ...


class Lane:
    """At most `limit` requests under way, and no more than a tick of about `tick_seconds` can advance. `lock` guards the line."""

    def __init__(
        self,
        task: Task,
        limit: int,
        tick_seconds: float,
        counters: LaneCounters,
        clock: Callable[[], float],
        lock: threading.Condition,
    ) -> None:
        self.task = task
        self.counters = counters
        self.line = FairLine()
        self.open: list[Job] = []
        self._limit = limit
        self._tick_seconds = tick_seconds
        self._clock = clock
        self._lock = lock
        self._row_seconds = 0.0

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.open) or bool(len(self.line))

    @property
    def room(self) -> int:
        """How many requests may be under way at once at the present pace."""
        if self._row_seconds * self._limit <= self._tick_seconds:
            return self._limit
        return max(1, int(self._tick_seconds / self._row_seconds))

    def sweep(self) -> None:
        """End the requests that are cancelled or late."""
        with self._lock:
            waiting = [(job, why) for job in self.line if (why := job.due()) is not None]
            for job, _ in waiting:
                self.line.remove(job)
        for job, why in waiting:
            job.fail(why)
        for job in self.open:
            if (why := job.due()) is not None:
                self._drop(job, why)
        self._tidy()

    def turn(self) -> None:
        """Let some of those who wait begin, then advance all by one step."""
        started = self._clock()
        try:
            self._admit(started)
            self._advance()
        finally:
            self._tidy()
            self.counters.busy_seconds += self._clock() - started

    def abort(self, error: UniCTokensError) -> None:
        """End all requests under way."""
        for job in self.open:
            if not job.ended:
                self._drop(job, error)
        self._tidy()

    def clear(self, error: UniCTokensError) -> None:
        """End all requests, those that wait too."""
        with self._lock:
            waiting = list(self.line)
            for job in waiting:
                self.line.remove(job)
        for job in waiting:
            job.fail(error)
        self.abort(error)

    def _admit(self, started: float) -> None:
        # Whoever is under way already waits meanwhile, so that beginning must not take for ever either.
        while len(self.open) < self.room and self._clock() - started <= self._tick_seconds:
            with self._lock:
                if not len(self.line):
                    return
                job = self.line.pop()
                self.open.append(job)
            self.counters.queue.add(self._clock() - job.submitted)
            try:
                self.task.begin(job)
            except UniCTokensError as error:
                job.fail(error)
            except Exception as error:  # one request's, whatever it is; the others go on
                log.exception("request %s could not begin", job.handle.id)
                job.fail(ServeError(f"the model failed ({type(error).__name__}: {error}): try again"))
            self._tidy()

    def _advance(self) -> None:
        if not self.open:
            return
        started, rows = self._clock(), len(self.open)
        self.task.advance(self.open)
        self.counters.ticks += 1
        self.counters.width.add(rows)
        pace = (self._clock() - started) / rows
        self._row_seconds = REMEMBER * self._row_seconds + (1 - REMEMBER) * pace if self._row_seconds else pace

    def _drop(self, job: Job, error: UniCTokensError) -> None:
        """End a request that is under way."""
        try:
            self.task.leave(job)
        except Exception:  # a model that has failed may fail here too; the request ends all the same
            log.exception("request %s could not be put away", job.handle.id)
        job.fail(error)

    def _tidy(self) -> None:
        self.open = [job for job in self.open if not job.ended]
