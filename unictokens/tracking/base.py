"""What training knows of experiment tracking, and several trackers as one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["finished", "failed", "stopped"]
"""How a run ended: all stages done, an error, or stopped by its host to be resumed."""


@dataclass(frozen=True)
class Ancestor:
    """An entry that others are nested in: all that is needed to find it on a server, or to begin it there.

    spool  the mark of its events
    time   when it began, milliseconds since 1970
    """

    spool: str
    name: str
    tags: Mapping[str, str]
    time: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a tracked run as a whole.

    name   shown to people: a job, a concept's run, a lane
    tags   short words to find it by
    above  the entries it is nested in, outermost first
    spool  the mark of its events where they have one already, "" for a new one
    """

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    above: tuple[Ancestor, ...] = ()
    spool: str = ""


class Tracker(Protocol):
    """Somebody who writes down what a run does. No call may block training for long or fail because a server is away."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings of the run, by dotted path."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at one step; `step` counts training steps of the whole run, over all stages."""
        ...

    def image(self, name: str, step: int, file: Path) -> None:
        """A picture of a series `name` ("preview/0"): a file that stays."""
        ...

    def artifact(self, path: Path) -> None:
        """A finished file that belongs to the run."""
        ...

    def published(self, concept: str, version: int, bundle: Path) -> None:
        """The run's concept has this version number in the store; `bundle` is a file with its rows and card that stays."""
        ...

    def close(self, status: Status) -> None:
        """The run is over. Nothing is told afterwards."""
        ...


@dataclass(frozen=True)
class Trackers:
    """Several trackers that are told the same, in order. Without members: nobody is told."""

    members: tuple[Tracker, ...] = ()

    def params(self, values: Mapping[str, Any]) -> None:
        for member in self.members:
            member.params(values)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        for member in self.members:
            member.metrics(step, values)

    def image(self, name: str, step: int, file: Path) -> None:
        for member in self.members:
            member.image(name, step, file)

    def artifact(self, path: Path) -> None:
        for member in self.members:
            member.artifact(path)

    def published(self, concept: str, version: int, bundle: Path) -> None:
        for member in self.members:
            member.published(concept, version, bundle)

    def close(self, status: Status) -> None:
        for member in self.members:
            member.close(status)


@dataclass(frozen=True)
class Unregistered:
    """A tracker of runs whose versions nobody is to find in a registry of models, such as trials of a search."""

    tracker: Tracker

    def params(self, values: Mapping[str, Any]) -> None:
        self.tracker.params(values)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.tracker.metrics(step, values)

    def image(self, name: str, step: int, file: Path) -> None:
        self.tracker.image(name, step, file)

    def artifact(self, path: Path) -> None:
        self.tracker.artifact(path)

    def published(self, concept: str, version: int, bundle: Path) -> None:
        return None

    def close(self, status: Status) -> None:
        self.tracker.close(status)
