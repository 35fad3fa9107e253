"""What a Ray cluster has: its living nodes, how many lanes fit on them, and which of them are about to go."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Node:
    """A living node. `leaves_in` is seconds until it goes away, None when nobody said so."""

    id: str
    cpus: int
    gpus: int
    leaves_in: float | None = None


@dataclass(frozen=True, kw_only=True)
class LaneShape:
    """What a lane takes: so many processes, each with so many CPU cores and GPUs."""

    processes: int
    cpus: int
    gpus: int

    def __str__(self) -> str:
        gpus = f"{self.gpus} GPU and " if self.gpus else ""
        each = f"{gpus}{self.cpus} CPU cores"
        return each if self.processes == 1 else f"{self.processes} times {each}"

    def bundle(self) -> dict[str, float]:
        """The resources of one process, in Ray's words."""
        return {"CPU": float(self.cpus), **({"GPU": float(self.gpus)} if self.gpus else {})}


NO_DEADLINE = 10.0**9


def living(ray: Any) -> tuple[Node, ...]:
    """The nodes of the cluster that `ray` is connected to."""
    # The same table that Ray Train looks at; Ray offers no public one with the deadlines.
    leaving: dict[str, int] = ray._private.state.state.get_draining_nodes()
    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            resources, deadline = node["Resources"], leaving.get(node["NodeID"])
            until = None if deadline is None else _seconds_to(deadline)
            nodes.append(
                Node(
                    id=node["NodeID"],
                    cpus=int(resources.get("CPU", 0)),
                    gpus=int(resources.get("GPU", 0)),
                    leaves_in=until,
                )
            )
    return tuple(nodes)


def room(nodes: Sequence[Node], shape: LaneShape) -> int:
    """How many lanes of this shape fit on the nodes that stay, were they empty."""
    processes = 0
    for node in nodes:
        if node.leaves_in is None:
            fit = node.cpus // shape.cpus if shape.cpus else node.gpus
            processes += min(fit, node.gpus // shape.gpus) if shape.gpus else fit
    return processes // shape.processes


def _seconds_to(deadline_ms: int) -> float:
    return max(0.0, deadline_ms / 1000 - time.time()) if deadline_ms else NO_DEADLINE
