"""An endpoint on a Ray of its own, and what tests ask of it."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
from people import bundle

from serve.config import Doors, Http, Models, ServeConfig, Teaching
from serve.engine.settings import EngineSettings
from serve.folder import Folder, Users
from serve.limits import Limits
from serve.users.quotas import Quota
from serve.users.shelf import Concept
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.card import BackboneStamp

PATIENCE = 120.0
"""Seconds for a replica to start on a busy machine."""
ENDS = ("done", "failed", "cancelled", "timed_out")


@dataclass
class Endpoint:
    """Where it is, and who uses it: ada has `bo`."""

    config: ServeConfig
    users: Users
    key: str
    bo: Concept
    stamp: BackboneStamp
    ray: Any
    sessions: str = ""

    def working(self, title: str) -> list[int]:
        """Process ids of this Ray's workers that do something of that name."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
                ours = self.sessions.encode() in Path("/proc", parent, "cmdline").read_bytes()
                if ours and (place / "cmdline").read_bytes().startswith(f"ray::{title}".encode()):
                    found.append(int(place.name))
        return found

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.config.http.port}"

    def http(self, seconds: float = PATIENCE) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers={"Authorization": f"Bearer {self.key}"}, timeout=seconds)

    def numbers(self) -> list[dict[str, float]]:
        """What the drawing lane of each engine has counted; `open` is how many requests are inside."""
        from ray import serve

        told = serve.get_deployment_handle("model", "unictokens").broadcast("numbers").results(timeout_s=PATIENCE)
        counted = [{name.removeprefix("drawing."): value for name, value in each.items()} for each in told]
        return [{**each, "open": each["submitted"] - sum(each[end] for end in ENDS)} for each in counted]

    def replicas(self) -> dict[str, int]:
        """Names and process ids of the replicas of the model."""
        return self.of_replicas(lambda _: os.getpid())

    def nodes(self) -> set[str]:
        """Nodes on which they live."""
        ray = self.ray
        return set(self.of_replicas(lambda _: ray.get_runtime_context().get_node_id()).values())

    def of_replicas(self, ask: Callable[[Any], Any]) -> dict[str, Any]:
        """What each replica of the model says, by its name; one that is just ending says nothing."""
        from ray.exceptions import RayError

        said = {}
        for actor in self.ray.util.list_named_actors(all_namespaces=True):
            if "#model#" in (name := actor["name"]):
                with suppress(ValueError, RayError):
                    handle = self.ray.get_actor(name, namespace="serve")
                    said[name] = self.ray.get(handle.__ray_call__.remote(ask), timeout=PATIENCE)
        return said


@contextmanager
def endpoint_on_ray(mini: ShowO, home: Path, teaching: Teaching) -> Iterator[Endpoint]:
    """Two replicas of the model and a teacher on a Ray of this process; whoever enters ends whatever Ray it is connected to."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's workers stand back behind everything else of a machine; here they are what is tested.
    os.environ.setdefault("RAY_worker_niceness", "0")
    sessions = tempfile.mkdtemp(prefix="ray-")
    if ray.is_initialized():
        ray.shutdown()
    ray.init(
        address="local",
        num_cpus=8,
        include_dashboard=True,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
        _temp_dir=sessions,
    )
    try:
        with endpoint_here(
            mini, home, Models(fewest=2, most=2, cpus=0.5), Doors(open=24, waiting=100), teaching
        ) as made:
            yield replace(made, sessions=sessions)
    finally:
        ray.shutdown()
        shutil.rmtree(sessions, ignore_errors=True)


@contextmanager
def endpoint_here(
    mini: ShowO, home: Path, models: Models, doors: Doors, teaching: Teaching | None = None, proxies: str = "EveryNode"
) -> Iterator[Endpoint]:
    """An endpoint with short queues on the Ray that this process is connected to."""
    import ray
    from ray import serve

    from serve import deployment

    folder, stamp = Folder(home), BackboneStamp.of(mini.info)
    users = folder.open_users()
    ada = users.accounts.add("ada")
    key, text = users.keys.create(ada.id)
    for kind in ("requests", "images", "bytes"):
        users.quotas.set(key.id, kind, Quota(1e12, 1))
    bo = users.shelf.create(ada.id, ada.name, "bo")
    assert bo is not None
    bo.store.publish(bundle("bo", 1, stamp))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = ServeConfig(
        folder=str(folder.root),
        teaching=teaching,
        models=models,
        doors=doors,
        http=Http(port=port),
        hot=("ada/bo",),
        engine=EngineSettings(canvases=2, waiting=4, waiting_of_user=4),
        limits=Limits(concurrent=200),
    )
    try:
        serve.start(proxy_location=proxies, http_options={"host": config.http.host, "port": port})
        deployment.start(config)
        yield Endpoint(config, users, text, bo, stamp, ray)
    finally:
        deployment.stop()
        users.keys.database.close()


def until(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something; AssertionError when it does not come."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not within {seconds:.0f} s"
        time.sleep(0.1)
