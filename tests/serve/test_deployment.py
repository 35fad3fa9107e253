"""The endpoint on a real Ray Serve: the openai client works unchanged, headers steer nothing, numbers are shown, settings are checked;
and what its users see of new versions, hanging up, too many requests, a replica that is killed and an update of the whole.

One Ray and one endpoint for all tests of this file.
"""

import base64
import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest
from people import bundle
from PIL import Image
from rayed import PATIENCE, Endpoint, endpoint_on_ray, until

pytest.importorskip("ray.serve", reason="Ray Serve is not installed")

from serve.config import Teaching
from serve.metrics import METRICS
from unictokens.backbones.showo.backbone import ShowO
from unictokens.config import load_config, override
from unictokens.errors import ConfigError
from unictokens.settings import parse_settings, to_dict

pytestmark = pytest.mark.ray

DRAW = "/v1/images/generations"


@pytest.fixture(scope="module")
def endpoint(mini: ShowO, tmp_path_factory: pytest.TempPathFactory, short_settings: list[str]) -> Iterator[Endpoint]:
    """ada has `bo`; there are two replicas of the model, and a teacher in a hurry."""
    home = tmp_path_factory.mktemp("endpoint")
    quick = override(load_config("demo"), parse_settings(short_settings))
    (home / "quick.json").write_text(json.dumps(to_dict(quick)))
    with endpoint_on_ray(mini, home, Teaching(config=str(home / "quick.json"), cpus=0.5)) as running:
        yield running


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{endpoint.address}/v1", api_key=endpoint.key, max_retries=0, timeout=PATIENCE
    ) as made:
        yield made


def drawing(steps: int, seed: int, name: str = "bo", **more: Any) -> dict[str, Any]:
    return {"prompt": f"A photo of <{name}>.", "steps": steps, "seed": seed, "guidance": 2.0, **more}


def draw(http: httpx.Client, steps: int, seed: int, name: str = "bo", **headers: str) -> httpx.Response:
    return http.post(DRAW, json=drawing(steps, seed, name), headers=headers)


def follow(http: httpx.Client, steps: int, seed: int, begun: threading.Event | None = None) -> dict[str, Any]:
    """Draw as a stream; `begun` is set when something was shown. Its last event, which is {} for [DONE]."""
    heard: list[dict[str, Any]] = []
    with http.stream("POST", DRAW, json=drawing(steps, seed, stream=True, partial_images=3)) as told:
        for event in events(told):
            heard.append(event)
            if begun is not None:
                begun.set()
    return heard[-1]


def events(told: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in told.iter_lines():
        if line.startswith("data: "):
            yield {} if line == "data: [DONE]" else json.loads(line[6:])


def answer_tokens(http: httpx.Client) -> int:
    body = {"model": "bo", "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 8}
    answer = http.post("/v1/chat/completions", json=body)
    return answer.json()["usage"]["completion_tokens"] if answer.status_code == 200 else -answer.status_code


def picture(data: str | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(base64.b64decode(data)))


def total(numbers: list[dict[str, float]], name: str) -> float:
    return sum(each[name] for each in numbers)


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


def test_hot_concepts_are_loaded_before_anybody_asks(endpoint: Endpoint) -> None:
    assert [each["concepts.loads"] for each in endpoint.numbers()] == [1, 1]


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


def test_a_published_version_is_served_within_five_seconds_and_a_drawing_under_way_stays_with_the_old_one(
    endpoint: Endpoint,
) -> None:
    with endpoint.http() as http:
        before, long = draw(http, 4, 9).json()["data"], draw(http, 24, 9).json()["data"][0]["b64_json"]
        with http.stream("POST", DRAW, json=drawing(24, 9, stream=True, partial_images=1)) as told:
            heard = events(told)
            assert next(heard)["type"] == "image_generation.partial_image"
            endpoint.bo.store.publish(bundle("bo", 2, endpoint.stamp))
            until(lambda: draw(http, 4, 9).json()["data"] != before, 5.0)
            assert next(heard)["b64_json"] == long
        assert draw(http, 4, 9, "bo@1").json()["data"] == before
        assert http.put("/v1/concepts/bo/aliases/live", json={"version": 1}).status_code == 200
        until(lambda: draw(http, 4, 9).json()["data"] == before, 5.0)


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
def test_who_hangs_up_stops_the_work(endpoint: Endpoint, streams: bool) -> None:
    before, body = endpoint.numbers(), json.dumps(drawing(64, 1, stream=streams)).encode()
    head = f"POST {DRAW} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {endpoint.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", endpoint.config.http.port)) as line:
        line.sendall(head.encode() + body)
        until(lambda: total(endpoint.numbers(), "open") == 1)
    until(lambda: total(endpoint.numbers(), "open") == 0)
    after = endpoint.numbers()
    assert total(after, "cancelled") == total(before, "cancelled") + 1
    assert total(after, "done") == total(before, "done")


def test_too_many_requests_are_told_to_come_back_and_queues_stay_short(endpoint: Endpoint) -> None:
    engine, longest = endpoint.config.engine, 0.0
    with endpoint.http() as http, ThreadPoolExecutor(60) as crowd:
        asked = [crowd.submit(draw, http, 12, seed) for seed in range(60)]
        while not all(each.done() for each in asked):
            longest = max(longest, *(each["open"] for each in endpoint.numbers()))
        answers = [each.result() for each in asked]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert len(answers) - len(refused) >= engine.canvases + engine.waiting
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert {answer.json()["error"]["type"] for answer in refused} == {"rate_limit_error"}
    assert 0 < longest <= engine.canvases + engine.waiting


def frozen_stream(replica: int, asked: Callable[[threading.Event], Future[Any]]) -> Future[Any]:
    """A stream that has begun on this replica, whose process stands still from then on."""
    for _ in range(20):
        begun = threading.Event()
        stream = asked(begun)
        assert begun.wait(PATIENCE)
        os.kill(replica, signal.SIGSTOP)
        if wait([stream], 10.0).not_done:
            return stream
        os.kill(replica, signal.SIGCONT)
    raise AssertionError("no stream of 20 came to this replica")


def test_a_killed_replica_costs_streams_that_have_begun_an_error_and_others_nothing(endpoint: Endpoint) -> None:
    before = endpoint.replicas()
    doomed = min(before.values())
    with endpoint.http() as http, ThreadPoolExecutor(8) as crowd:
        begun = frozen_stream(doomed, lambda heard: crowd.submit(follow, http, 64, 1, heard))
        others = [crowd.submit(follow, http, 16, seed) for seed in range(2)]
        plain = [crowd.submit(draw, http, 8, seed) for seed in range(2)]
        wait([*others, *plain], 1.0)  # time for some to reach it: the doors do not know yet
        os.kill(doomed, signal.SIGKILL)
        assert begun.result(PATIENCE)["error"]["code"] == "replica_lost"
        assert [other.result(PATIENCE) for other in others] == [{}, {}]
        assert [answer.result(PATIENCE).status_code for answer in plain] == [200, 200]
    until(lambda: len(set(endpoint.replicas()) - set(before)) == 1)


def test_photos_become_a_concept_in_a_task_of_ray_which_is_begun_again_when_its_process_dies(
    endpoint: Endpoint,
) -> None:
    facts = {"name": "miru", "class_word": "dog", "info": "<miru> is a red dog."}
    photos = [("photos", (f"{shade}.png", png(64), "image/png")) for shade in range(3)]
    with endpoint.http() as http:
        run = http.post("/v1/concepts", data=facts, files=photos).json()["run"]["id"]
        until(lambda: bool(endpoint.working("lesson")))
        (first,) = endpoint.working("lesson")
        until(lambda: bool(http.get(f"/v1/concepts/miru/runs/{run}").json()["progress"]))
        os.kill(first, signal.SIGKILL)
        until(lambda: http.get(f"/v1/concepts/miru/runs/{run}").json()["status"] != "running")
        ended = http.get(f"/v1/concepts/miru/runs/{run}").json()
        assert (ended["status"], ended["version"]) == ("finished", 1), ended
        assert draw(http, 2, 1, "miru").status_code == 200
        again = http.post("/v1/concepts/miru/runs", data=facts, files=photos).json()["run"]["id"]
        until(lambda: bool(endpoint.working("lesson")))
        assert http.delete("/v1/concepts/miru").status_code == 200
        until(lambda: not endpoint.working("lesson"), 30.0)
        assert http.get(f"/v1/concepts/miru/runs/{again}").status_code == 404


def test_an_update_fails_no_request(endpoint: Endpoint) -> None:
    from serve import deployment

    changed = replace(endpoint.config, limits=replace(endpoint.config.limits, answer_tokens=1))
    before, over = endpoint.replicas(), threading.Event()

    def use(ask: Callable[[httpx.Client], Any]) -> list[Any]:
        seen = []
        with endpoint.http() as http:
            while not over.is_set():
                seen.append(ask(http))
                time.sleep(0.2)
        return seen

    with endpoint.http() as http, ThreadPoolExecutor(3) as crowd:
        assert answer_tokens(http) > 1
        ways = (lambda http: draw(http, 8, 1).status_code, lambda http: follow(http, 8, 2), answer_tokens)
        drawn, followed, said = [crowd.submit(use, way) for way in ways]
        try:
            deployment.start(changed)
            until(lambda: answer_tokens(http) == 1)
        finally:
            over.set()
        assert set(drawn.result()) == {200} and all(end == {} for end in followed.result())
        assert min(said.result()) == 1 and max(said.result()) > 1
    until(lambda: not set(before) & set(endpoint.replicas()))


def test_replicas_come_with_requests_and_go_without(endpoint: Endpoint) -> None:
    from serve import deployment

    models = replace(endpoint.config.models, fewest=1, most=2, busy=1.0, grow_after=1.0, shrink_after=2.0)
    deployment.start(replace(endpoint.config, models=models))
    until(lambda: len(endpoint.replicas()) == 1)
    over, seen = threading.Event(), []

    def use() -> None:
        with endpoint.http() as http:
            while not over.is_set():
                seen.append(draw(http, 16, 1).status_code)

    with ThreadPoolExecutor(4) as crowd:
        users = [crowd.submit(use) for _ in range(4)]
        try:
            until(lambda: len(endpoint.replicas()) == 2)
            until(lambda: all(each["done"] for each in endpoint.numbers()))
        finally:
            over.set()
        for user in users:
            user.result()
        until(lambda: len(endpoint.replicas()) == 1)
    assert set(seen) == {200}
