"""The endpoint on a real Ray Serve: the openai client works unchanged, headers steer nothing, numbers are shown, settings are checked.

One Ray and one endpoint for all tests of this file.
"""

import base64
import io
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest
from people import bundle
from PIL import Image

pytest.importorskip("ray.serve", reason="Ray Serve is not installed")

from serve.config import Http, Models, ServeConfig
from serve.folder import Folder, Users
from serve.limits import Limits
from serve.metrics import METRICS
from serve.users.quotas import Quota
from serve.users.shelf import Concept
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.card import BackboneStamp
from unictokens.errors import ConfigError

pytestmark = pytest.mark.ray

PATIENCE = 120.0
"""Seconds for a replica to start on a busy machine."""


@dataclass
class Endpoint:
    """Where it is, and who uses it."""

    config: ServeConfig
    users: Users
    key: str
    bo: Concept
    stamp: BackboneStamp
    ray: Any

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.config.http.port}"

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers={"Authorization": f"Bearer {self.key}"}, timeout=PATIENCE)


@pytest.fixture(scope="module")
def endpoint(mini: ShowO, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """ada has `bo`; there are two replicas of the model."""
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
    from serve import deployment

    folder, stamp = Folder(tmp_path_factory.mktemp("endpoint")), BackboneStamp.of(mini.info)
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
        teaching=None,
        models=Models(fewest=2, most=2, cpus=0.5),
        http=Http(port=port),
        limits=Limits(concurrent=200),
    )
    deployment.start(config)

    yield Endpoint(config, users, text, bo, stamp, ray)
    deployment.stop()
    ray.shutdown()
    users.keys.database.close()
    shutil.rmtree(sessions, ignore_errors=True)


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{endpoint.address}/v1", api_key=endpoint.key, max_retries=0, timeout=PATIENCE
    ) as made:
        yield made


def draw(http: httpx.Client, steps: int, seed: int, name: str = "bo", **headers: str) -> httpx.Response:
    body = {"prompt": f"A photo of <{name}>.", "steps": steps, "seed": seed, "guidance": 2.0}
    return http.post("/v1/images/generations", json=body, headers=headers)


def picture(data: str | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(base64.b64decode(data)))


def png(side: int, clear: tuple[int, int, int, int] | None = None) -> bytes:
    made, stream = Image.new("RGBA", (side, side), "red"), io.BytesIO()
    if clear is not None:
        made.paste((0, 0, 0, 0), clear)
    made.save(stream, "PNG")
    return stream.getvalue()


def test_unknown_settings_do_not_reach_ray() -> None:
    from serve import deployment

    with pytest.raises(ConfigError, match=r"unknown setting 'models\.mots'"):
        deployment.app({"models.mots": 2})
    assert deployment.app({"models.most": 2, "teaching": None}) is not None


def test_the_openai_client_chats_streams_draws_and_edits(client: openai.OpenAI, mini: ShowO) -> None:
    assert [model.id for model in client.models.list()] == [mini.info.name, "bo"]
    url = f"data:image/png;base64,{base64.b64encode(png(64)).decode()}"
    parts = [{"type": "text", "text": "Is <bo> here?"}, {"type": "image_url", "image_url": {"url": url}}]
    asked = {"model": mini.info.name, "messages": [{"role": "user", "content": parts}], "max_tokens": 8}
    whole = client.chat.completions.create(**asked)  # type: ignore[call-overload]
    chunks = list(client.chat.completions.create(**asked, stream=True))  # type: ignore[call-overload]
    pieces = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert pieces.strip() == whole.choices[0].message.content and chunks[-1].choices[0].finish_reason
    drawn = client.images.generate(prompt="A photo of <bo>.", n=2, extra_body={"seed": 5, "steps": 4, "guidance": 2.0})
    assert drawn.data is not None and picture(drawn.data[1].b64_json).size == (64, 64)
    events = client.images.generate(prompt="<bo>", stream=True, partial_images=1, extra_body={"steps": 4})
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]
    edited = client.images.edit(
        image=("a.png", png(128)),
        mask=("m.png", png(128, clear=(0, 0, 64, 128))),
        prompt="A photo of <bo>.",
        extra_body={"seed": 1, "steps": 4},
    )
    assert edited.data is not None
    pixels = np.asarray(picture(edited.data[0].b64_json))
    assert (pixels[:, 32:] == (255, 0, 0)).all() and not (pixels[:, :32] == (255, 0, 0)).all()
    with pytest.raises(openai.BadRequestError, match="tokens"):
        client.images.generate(prompt="dog " * 2000)


def test_headers_that_steer_ray_change_nothing(endpoint: Endpoint) -> None:
    with endpoint.http() as http:
        plain = draw(http, 4, 9).json()["data"]
        for name in ("serve_multiplexed_model_id", "serve-multiplexed-model-id", "x-session-id"):
            answer = draw(http, 4, 9, **{name: "somebody-else"})
            assert answer.status_code == 200 and answer.json()["data"] == plain


def test_numbers_are_shown_at_rays_metrics_port(endpoint: Endpoint) -> None:
    port = endpoint.ray.nodes()[0]["MetricsExportPort"]
    wanted = {f"ray_{name}" for metric in METRICS for name in metric.shown}
    wanted -= {"ray_unictokens_broken_ticks_total"}  # Ray shows a counter once it has counted something
    end, missing = time.monotonic() + 60, wanted
    while missing:
        shown = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        missing = {name for name in wanted if f"\n{name}{{" not in shown}
        assert time.monotonic() < end, missing
    assert 'route="create_image"' in shown and "ada" not in [
        line for line in shown.splitlines() if "unictokens" in line
    ]
