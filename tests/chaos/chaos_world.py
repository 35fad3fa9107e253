"""A Ray cluster of several nodes on this machine, and a job's driver in a process of its own: things that can be killed.

Only processes that were started from here are ever touched: children of this process, and theirs.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from cluster.folder import JobFolder, list_jobs
from cluster.host import ADDRESS, OBJECT_STORE_BYTES, RAY_ENVIRONMENT
from unictokens.storage.base import Place

FAST = {
    "health_check_initial_delay_ms": 2000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 5,
}
"""Dead nodes are noticed within seconds, live ones on a busy machine are not taken for dead."""
TITLES = {"worker": "RayTrainWorker", "lane": "TrainController", "queue": "Keeper"}
"""What Ray calls the processes of a job."""


class World:
    """The cluster. Nodes come and go; the head, which has no cores for lanes, stays."""

    def __init__(self, nodes: int, cpus: int) -> None:
        self._set_environment()
        from ray.cluster_utils import Cluster

        self._cpus = cpus
        self.cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": True,
                "dashboard_port": _free_port(),
                "object_store_memory": OBJECT_STORE_BYTES,
                "_system_config": FAST,
            },
        )
        self.nodes: list[Any] = [self._add() for _ in range(nodes)]

    @property
    def address(self) -> str:
        """What drivers connect to."""
        return self.cluster.address

    def processes(self, kind: str) -> list[psutil.Process]:
        """Living processes of a kind of `TITLES`, in a stable order."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                title = " ".join(process.cmdline()[:1])
                if title.startswith("ray::") and TITLES[kind] in title and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda process: process.pid)

    def processes_on(self, at: int) -> list[psutil.Process]:
        """A node's own process and every worker of it."""
        raylet = psutil.Process(self.nodes[at].all_processes["raylet"][0].process.pid)
        return [raylet, *raylet.children(recursive=True)]

    def lose_node(self, at: int) -> None:
        """A node goes without a word, and everything on it."""
        self.cluster.remove_node(self.nodes.pop(at), allow_graceful=False)

    def drain_node(self, at: int, seconds: float) -> None:
        """A node is told that it will go, as a cloud tells a spot machine; it has to be lost later."""
        from ray._raylet import GcsClient
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        deadline = int((time.time() + seconds) * 1000)
        client = GcsClient(address=self.address)
        reason = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        accepted, why = client.drain_node(self.nodes[at].node_id, reason, "taken back", deadline)
        assert accepted, why

    def add_node(self) -> None:
        """A new one comes."""
        self.nodes.append(self._add())

    def close(self) -> None:
        """End all of it."""
        self.cluster.shutdown()

    def leftovers(self, seconds: float) -> dict[str, float]:
        """Resources that are still taken after so many seconds; none when everything was given back."""
        import ray

        ray.init(address=self.address, log_to_driver=False)
        try:
            until = time.monotonic() + seconds
            while True:
                total, free = ray.cluster_resources(), ray.available_resources()
                taken = {name: total[name] - free.get(name, 0.0) for name in ("CPU", "memory") if name in total}
                taken = {name: amount for name, amount in taken.items() if amount}
                if not taken or time.monotonic() > until:
                    return taken
                time.sleep(0.5)
        finally:
            ray.shutdown()

    def _add(self) -> Any:
        return self.cluster.add_node(num_cpus=self._cpus, object_store_memory=OBJECT_STORE_BYTES)

    @staticmethod
    def _set_environment() -> None:
        os.environ.update(RAY_ENVIRONMENT)
        if not any(name.startswith("RAY_AUTH_") for name in os.environ):
            os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})


class Driver:
    """`python -m cluster train` as a process that may be killed and continued with `--resume JOB`."""

    def __init__(self, world: World, out: Place, options: Sequence[str], beside: Path | None = None) -> None:
        """`beside` is a folder for what it prints, for an output that is none."""
        self._out = out
        self._environment = {**os.environ, ADDRESS: world.address}
        folder = beside or Path(out)
        self._log = folder / "driver.log"
        folder.mkdir(parents=True, exist_ok=True)
        self.starts = 0
        self._process = self._start(["--out", str(out), *options])

    @property
    def folder(self) -> JobFolder | None:
        """The job's folder, once it is there."""
        jobs = list_jobs(self._out)
        return JobFolder(self._out, jobs[0]) if jobs else None

    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def said(self) -> str:
        """Everything that its processes printed."""
        return self._log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Its exit code. Raises TimeoutExpired."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End it at once."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def resume(self, world: World | None = None) -> None:
        """Start it anew, with no word but the job's name; on another cluster if one is given."""
        if world is not None:
            self._environment[ADDRESS] = world.address
        folder = self.folder
        assert folder is not None, "there is no job to continue yet"
        self._process = self._start(["--out", str(self._out), "--resume", folder.name])

    def _start(self, options: Sequence[str]) -> subprocess.Popen[bytes]:
        self.starts += 1
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "cluster", "train", *options]
            return subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)


@contextmanager
def world(nodes: int, cpus: int = 1) -> Iterator[World]:
    """A cluster for the length of a block."""
    made = World(nodes, cpus)
    try:
        yield made
    finally:
        made.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
