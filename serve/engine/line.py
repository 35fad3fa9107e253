"""Who is next: a bounded line in which every user gets the same share of work, however many requests each has put in."""

from collections import OrderedDict, deque
from collections.abc import Iterator

from serve.engine.job import Job

REMEMBERED = 1024
"""Users without waiting requests whose share is still known."""


class FairLine:
    """Requests by user, first come first served within each; next is the user who has had least.

    A user's share grows by the cost of each request that leaves the line. Whoever comes anew starts at the share of the user
    who was served last: being away earns nothing, and nobody who waits is overtaken for long.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._had: dict[str, float] = {}
        self._now = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Job]:
        return iter([job for jobs in self._waiting.values() for job in jobs])

    def of(self, user: str) -> int:
        """How many requests of a user wait."""
        return len(self._waiting.get(user, ()))

    def push(self, job: Job) -> None:
        """Stand at the end of the user's own requests."""
        user = job.asked.user
        if user not in self._waiting:
            self._waiting[user] = deque()
            self._had[user] = max(self._had.get(user, 0.0), self._now)
        self._waiting[user].append(job)
        self._length += 1

    def pop(self) -> Job:
        """The next request; raises IndexError when nobody waits."""
        if not self._waiting:
            raise IndexError("nobody waits")
        user = min(self._waiting, key=lambda name: self._had[name])
        job = self._waiting[user].popleft()
        self._now = self._had[user]
        self._had[user] += job.cost
        self._left(user)
        return job

    def remove(self, job: Job) -> None:
        """Leave the line without being served."""
        self._waiting[job.asked.user].remove(job)
        self._left(job.asked.user)

    def _left(self, user: str) -> None:
        self._length -= 1
        if not self._waiting[user]:
            del self._waiting[user]
        if not self._waiting:  # nobody contends any more
            self._had.clear()
        elif len(self._had) > REMEMBERED + len(self._waiting):
            self._had = {name: had for name, had in self._had.items() if had > self._now or name in self._waiting}
