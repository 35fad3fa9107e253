"""All runs of a job and where they stand, counted as they change: watchers of 100,000 runs look at what moved, not at all of them."""

from collections import Counter
from collections.abc import Iterator, Sequence

from cluster.run_status import RunStateName, RunStatus


class Standings:
    """Statuses by name, in the order in which runs entered."""

    def __init__(self) -> None:
        self._statuses: dict[str, RunStatus] = {}
        self._counts: Counter[RunStateName] = Counter()
        self._done = 0.0
        self._changed: dict[str, int] = {}
        self._version = 0

    def __getitem__(self, name: str) -> RunStatus:
        return self._statuses[name]

    def __contains__(self, name: object) -> bool:
        return name in self._statuses

    def __iter__(self) -> Iterator[RunStatus]:
        return iter(self._statuses.values())

    def get(self, name: str) -> RunStatus | None:
        """Where a run stands, None for one that is not here."""
        return self._statuses.get(name)

    def enter(self, statuses: Sequence[RunStatus]) -> None:
        """New runs, which wait."""
        self._version += 1
        for status in statuses:
            self._statuses[status.name] = status
            self._changed[status.name] = self._version
            self._counts[status.state] += 1

    def put(self, status: RunStatus) -> None:
        """A known run stands here now."""
        before = self._statuses[status.name]
        self._statuses[status.name] = status
        self._version += 1
        self._changed.pop(status.name, None)  # what changed last stands last
        self._changed[status.name] = self._version
        self._done += status.share - before.share
        self._counts[before.state] -= 1
        self._counts[status.state] += 1

    def restore(self, status: RunStatus) -> None:
        """As `put`, for many: nothing is counted before `recount`."""
        self._statuses[status.name] = status

    def recount(self) -> None:
        """Count anew; everything counts as changed."""
        self._counts = Counter(status.state for status in self)
        self._done = sum(status.share for status in self)
        self._version += 1
        self._changed = dict.fromkeys(self._statuses, self._version)

    def count(self, state: RunStateName) -> int:
        """How many runs are in a state."""
        return self._counts[state]

    def counts(self) -> dict[RunStateName, int]:
        """How many runs are in each state."""
        return dict(self._counts)

    def done(self) -> float:
        """Share of the whole that is behind, 0 to 1."""
        return self._done / len(self._statuses) if self._statuses else 1.0

    def changed_since(self, version: int) -> tuple[int, list[RunStatus]]:
        """What changed since `version` (0: everything), and the version now."""
        found: list[RunStatus] = []
        for name in reversed(self._changed):
            if self._changed[name] <= version:
                break
            found.append(self._statuses[name])
        return self._version, found[::-1]
