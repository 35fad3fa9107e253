"""A node that is about to go under a running endpoint: another takes its replica, and no request fails."""

import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from chaos_world import world
from rayed import Endpoint, endpoint_here, until

from serve.config import Doors, Models
from unictokens.backbones.showo.weights import load

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.ray,
    pytest.mark.chaos,
]

NOTICE = 60.0
"""Seconds between a node's word that it will go and its end."""


class Requests:
    """Three users who draw all the time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._over = threading.Event()
        self._seen: list[int] = []
        self._crowd = ThreadPoolExecutor(3)
        self._users = [self._crowd.submit(self._use) for _ in range(3)]

    def until_done(self, more: int) -> list[int]:
        """Status of every request, once there were so many more."""
        wanted = len(self._seen) + more
        until(lambda: len(self._seen) >= wanted)
        self._over.set()
        for user in self._users:
            user.result()
        return self._seen

    def _use(self) -> None:
        body = {"prompt": "A photo of <bo>.", "steps": 12, "seed": 1}
        with self._endpoint.http() as http:
            while not self._over.is_set():
                self._seen.append(http.post("/v1/images/generations", json=body).status_code)


def test_a_node_that_is_taken_back_costs_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # the endpoint's own keys are what is asked for here
    mini = load("mini")
    models, doors = Models(fewest=2, most=2), Doors(cpus=0.0, open=24, waiting=100)
    with world(nodes=2) as cluster:
        ray.init(address=cluster.address, log_to_driver=False)
        try:
            # All simulated nodes have one address, whose port serves one proxy.
            with endpoint_here(mini, tmp_path, models, doors, proxies="HeadOnly") as endpoint:
                assert endpoint.nodes() == {node.node_id for node in cluster.nodes}
                seen = Requests(endpoint)
                cluster.add_node()
                cluster.drain_node(0, NOTICE)
                until(lambda: cluster.nodes[0].node_id not in endpoint.nodes() and len(endpoint.nodes()) == 2)
                cluster.lose_node(0)
                assert set(seen.until_done(30)) == {200}
        finally:
            ray.shutdown()
