"""The official `openai` client, unchanged, against the whole service on one machine: uvicorn, the engine, the small base."""

import base64
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
import uvicorn
from people import bundle
from PIL import Image

from serve.api.app import create_app
from serve.api.state import House
from serve.engine_client import EngineClient
from serve.folder import Folder
from serve.limits import Limits
from serve.training import NoTrainer
from unictokens.backbones.base import Decoding
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.card import BackboneStamp
from unictokens.pipeline import Pipeline


@pytest.fixture(scope="module")
def service(mini: ShowO, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and ada's key; ada has `bo`, bob has granted her `miru`, and keeps `secret`."""
    users = Folder(tmp_path_factory.mktemp("service")).open_users()
    ada, bob = users.accounts.add("ada"), users.accounts.add("bob")
    for owner, name, seed in ((ada, "bo", 1), (bob, "miru", 2), (bob, "secret", 3)):
        concept = users.shelf.create(owner.id, owner.name, name)
        assert concept is not None
        concept.store.publish(bundle(name, seed, BackboneStamp.of(mini.info)))
        if name == "miru":
            users.shelf.grant(concept, ada.id)
    _, key = users.keys.create(ada.id)
    client = EngineClient.over(mini)
    house = House(client=client, users=users, trainer=NoTrainer(), limits=Limits())
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(house), log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", key
    server.should_exit = True
    thread.join(20)
    client.close()


@pytest.fixture(scope="module")
def client(service: tuple[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=service[0], api_key=service[1], max_retries=0, timeout=60) as made:
        yield made


def picture(data: str | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(base64.b64decode(data)))


def png(side: int, colour: str = "red", clear: tuple[int, int, int, int] | None = None) -> bytes:
    made, stream = Image.new("RGBA", (side, side), colour), io.BytesIO()
    if clear is not None:
        made.paste((0, 0, 0, 0), clear)
    made.save(stream, "PNG")
    return stream.getvalue()


def test_models(client: openai.OpenAI, mini: ShowO) -> None:
    models = {model.id: model for model in client.models.list()}
    assert list(models) == [mini.info.name, "bo", "bob/miru"]
    assert client.models.retrieve("bo").parent == mini.info.name  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("bob/secret")


def test_chat_says_what_the_pipeline_says(client: openai.OpenAI, mini: ShowO, tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(png(64))
    pipeline = Pipeline(mini, [bundle("bo", 1, BackboneStamp.of(mini.info))])
    wanted = pipeline.ask("Is <bo> in the photo?", photo, decoding=Decoding(max_tokens=12))
    url = f"data:image/png;base64,{base64.b64encode(photo.read_bytes()).decode()}"
    parts = [{"type": "text", "text": "Is <bo> in the photo?"}, {"type": "image_url", "image_url": {"url": url}}]
    said = client.chat.completions.create(
        model=mini.info.name,
        messages=[{"role": "user", "content": parts}],  # type: ignore[list-item, misc]
        max_tokens=12,
    )
    assert said.choices[0].message.content == wanted and said.usage is not None and said.usage.completion_tokens <= 12


def test_chat_of_several_concepts_streams(client: openai.OpenAI) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who is <bo>?"},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": "And <bob/miru>?"},
    ]
    asked = {"model": "bo", "messages": messages, "max_tokens": 8, "seed": 3, "temperature": 0.9}
    whole = client.chat.completions.create(**asked).choices[0].message.content  # type: ignore[call-overload]
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))  # type: ignore[call-overload]
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces).strip() == whole and chunks[-1].usage.total_tokens > 0


def test_images_are_the_same_for_the_same_seed(client: openai.OpenAI) -> None:
    asked = {"prompt": "A photo of <bo>.", "size": "64x64", "extra_body": {"seed": 5, "steps": 4, "guidance": 2.0}}
    two = client.images.generate(**asked, n=2)  # type: ignore[call-overload]
    one = client.images.generate(**{**asked, "extra_body": {**asked["extra_body"], "seed": 6}})  # type: ignore[call-overload, dict-item]
    assert [data.seed for data in two.data] == [5, 6] and picture(two.data[0].b64_json).size == (64, 64)
    assert two.data[1].b64_json == one.data[0].b64_json != two.data[0].b64_json


def test_images_stream_partial_pictures(client: openai.OpenAI) -> None:
    events = client.images.generate(
        prompt="A photo of <bo>.", stream=True, partial_images=2, extra_body={"seed": 5, "steps": 4, "guidance": 2.0}
    )
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]


def test_edits_redraw_only_where_the_mask_is_clear(client: openai.OpenAI) -> None:
    image, mask = ("a.png", png(128)), ("m.png", png(128, clear=(0, 0, 64, 128)))
    asked = {"image": image, "mask": mask, "prompt": "A photo of <bo>.", "extra_body": {"seed": 1, "steps": 4}}
    made = client.images.edit(**asked)  # type: ignore[call-overload]
    pixels = np.asarray(picture(made.data[0].b64_json))
    assert (pixels[:, 32:] == (255, 0, 0)).all() and not (pixels[:, :32] == (255, 0, 0)).all()
    events = list(client.images.edit(**asked, stream=True, partial_images=1))  # type: ignore[call-overload]
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert events[-1].b64_json == made.data[0].b64_json


def test_errors_are_the_clients_own(client: openai.OpenAI, service: tuple[str, str]) -> None:
    with pytest.raises(openai.BadRequestError, match="room for"):
        client.images.generate(prompt="hat " * 300)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="bob/secret", messages=[{"role": "user", "content": "Hello."}])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=service[0], api_key="uct_wrong", max_retries=0).models.list()


def test_a_stream_that_is_left_stops_the_work(client: openai.OpenAI, mini: ShowO) -> None:
    stream = client.chat.completions.create(
        model=mini.info.name, messages=[{"role": "user", "content": "Hello."}], max_tokens=400, stream=True
    )
    next(iter(stream))
    stream.close()
    begun = time.monotonic()
    client.images.generate(prompt="A hat.", extra_body={"steps": 1, "guidance": 0.0})
    assert time.monotonic() - begun < 20
