"""Where the driver posts what happened to trials, and Tune's trials, which are processes without anything of ours, read it."""

from typing import Any, Protocol

Report = dict[str, Any]
"""One result of a trial: "epochs" and "watched"; the last one has "done", and the metrics where the trial was finished."""

CLOSED: Report = {"epochs": 0, "done": True, "closed": True}


class Board:
    """Reports by trial, in order. Knows neither Ray nor training."""

    def __init__(self) -> None:
        self._reports: dict[int, list[Report]] = {}
        self._closed = False

    def post(self, number: int, reports: list[Report]) -> None:
        """Add reports of a trial."""
        self._reports.setdefault(number, []).extend(reports)

    def read(self, number: int, at: int) -> Report | None:
        """The report at a place of a trial's list, None when it is not there yet."""
        reports = self._reports.get(number, [])
        if at < len(reports):
            return reports[at]
        return CLOSED if self._closed else None

    def close(self) -> None:
        """Nothing more will be posted: whoever waits is told."""
        self._closed = True


class Posts(Protocol):
    """The driver's side of a board."""

    def post(self, number: int, reports: list[Report]) -> None: ...

    def close(self) -> None: ...
