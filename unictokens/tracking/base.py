"""What training knows of experiment tracking, and several trackers as one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL import Image

Status = Literal["finished", "failed", "stopped"]
"""How a run ended: all stages done, an error, or stopped by its host to be resumed."""


class Tracker(Protocol):
    """Somebody who writes down what a run does. No call may block training for long or fail because a server is away."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings of the run, by dotted path."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at one step; `step` counts training steps of the whole run, over all stages."""
        ...

    def image(self, name: str, step: int, picture: Image.Image) -> None:
        """A picture of a series `name` ("preview/0")."""
        ...

    def artifact(self, path: Path) -> None:
        """A finished file that belongs to the run."""
        ...

    def close(self, status: Status) -> None:
        """The run is over; whatever was buffered is written now. Nothing is told afterwards."""
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

    def image(self, name: str, step: int, picture: Image.Image) -> None:
        for member in self.members:
            member.image(name, step, picture)

    def artifact(self, path: Path) -> None:
        for member in self.members:
            member.artifact(path)

    def close(self, status: Status) -> None:
        for member in self.members:
            member.close(status)
