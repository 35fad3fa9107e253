"""How many lanes a job has, and what each of them takes of the machines there are."""

from collections.abc import Sequence
from dataclasses import replace

from cluster.host import elsewhere
from cluster.job_settings import JobSettings
from cluster.lanes import Limits
from cluster.nodes import LaneShape, Node, room
from cluster.plan import JobPlan
from unictokens.errors import ConfigError

CPU_LANES = 4
"""Most lanes that are opened unasked on a machine without a GPU: each is a few processes and a gigabyte."""


def lane_count(wanted: int, processes: int, runs: int, cpus: int, gpus: int) -> int:
    """How many lanes of `processes` processes are opened for so many runs; `wanted` 0 asks for what the machine is for.

    Raises ConfigError for more than it has room for.
    """
    most = (gpus or cpus) // processes
    asked = wanted or (most if gpus else min(most, CPU_LANES))
    if asked > most or most == 0:
        raise ConfigError(
            f"{max(asked, 1)} lanes of {processes} processes do not fit: this machine has {gpus} GPUs and {cpus} CPU "
            f"cores, room for {most}; lower --lanes or --processes"
        )
    return max(1, min(asked, runs))


def lane_shape(plan: JobPlan, settings: JobSettings, nodes: Sequence[Node]) -> tuple[LaneShape, Limits]:
    """What each lane of a job takes, and how many there may be. Raises ConfigError for lanes that this machine has no room for."""
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    processes, runs = settings.engine.processes, len(plan.runs) + plan.more
    most = settings.lanes or settings.max_lanes
    grows = elsewhere() and most > 0
    if elsewhere():  # which may grow: what does not fit now is waited for
        now = max(1, (gpus or cpus) // processes)
        most = most or (now if gpus else min(now, CPU_LANES))
        least, count = settings.least, max(1, min(most, runs))
    else:
        lane_count(settings.least, processes, settings.least, cpus, gpus)
        most = count = lane_count(most, processes, runs, cpus, gpus)
        least = 1
    largest = max((node.cpus for node in nodes), default=1)
    now = min(count, max(1, (gpus or cpus) // processes))
    shape = LaneShape(processes=processes, cpus=max(1, min(cpus // (now * processes), largest)), gpus=1 if gpus else 0)
    while room(nodes, shape) < now and shape.cpus > 1:  # a process is on one node
        shape = replace(shape, cpus=shape.cpus - 1)
    # An even share each: a lane that filled up to its width would leave nothing for the others.
    width = min(settings.width, -(-runs // count))
    return shape, Limits(
        least=min(least, runs), most=most, timeout=settings.timeout, width=width, stall=settings.stall, grows=grows
    )
