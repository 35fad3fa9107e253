"""Malformed, impossible, endless and slow requests get a 4xx that says why, and leave nothing behind."""

import json
import time
from pathlib import Path
from urllib.parse import quote

import anyio
import pytest
from fake_client import FakeClient
from people import Person, chat, png, uri

from serve.api.app import create_app
from serve.api.state import House
from serve.folder import Users
from serve.limits import MIB, Limits
from serve.training import NoTrainer

CHAT = '{"model": "fake", "messages": [{"role": "user", "content": "x"}], '

BODIES: dict[str, str | bytes | dict[str, object]] = {
    "no JSON": "{",
    "not an object": "[]",
    "a number": "1",
    "nothing": "",
    "invalid UTF-8": b'{"model": "\xff"}',
    "depth 100000": "[" * 100_000 + "]" * 100_000,
    "depth in content": '{"model": "fake", "messages": ' + "[" * 5000 + "]" * 5000 + "}",
    "temperature 1e999": CHAT + '"temperature": 1e999}',
    "temperature NaN": CHAT + '"temperature": NaN}',
    "seed of 5000 digits": CHAT + '"seed": ' + "9" * 5000 + "}",
    "lone surrogate": '{"model": "fake", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "surrogate as a field": '{"model": "fake", "messages": [], "\\ud800": 1}',
    "NUL": chat("a\x00b"),
    "escape": chat("\x1b[2J"),
    "1 MB prompt": chat("hat " * 250_000),
    "10,000 messages": chat(messages=[{"role": "user", "content": "x"}] * 10_000),
    "no messages": chat(messages=[]),
    "unknown role": chat(messages=[{"role": "root", "content": "x"}]),
    "unknown field": chat(serve_multiplexed_model_id="x"),
    "temperature as text": chat(temperature="0.5"),
    "seed 2**70": chat(seed=2**70),
    "seed -1": chat(seed=-1),
    "seed as float": chat(seed=1.5),
    "n 2": chat(n=2),
    "max_tokens 0": chat(max_tokens=0),
    "max_tokens 10**9": chat(max_tokens=10**9),
    "stop list": chat(stop=["x"] * 10_000),
    "null content": chat(None),
    "two pictures": chat([{"type": "image_url", "image_url": {"url": uri(png())}}] * 2),
}


@pytest.mark.parametrize("name", BODIES)
def test_malformed_chats_are_400(eve: Person, name: str) -> None:
    body = BODIES[name]
    content = json.dumps(body) if isinstance(body, dict) else body
    answer = eve.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"] and len(answer.text) < 2000


@pytest.mark.parametrize(
    "body",
    [
        {"n": 0}, {"n": -1}, {"n": 10**9}, {"size": "1x1"}, {"size": "8192x8192"}, {"size": "32x32;rm"}, {"steps": 0},
        {"steps": 10**6}, {"guidance": -1}, {"guidance": 1e9}, {"seed": 2**70}, {"stream": True, "n": 2},
        {"partial_images": 2}, {"response_format": "url"}, {"quality": "hd"}, {"prompt": 3}, {"prompt": "hat " * 200},
    ],
)  # fmt: skip
def test_impossible_drawings_are_400(eve: Person, body: dict[str, object]) -> None:
    answer = eve.post("/v1/images/generations", json={"prompt": "A hat.", **body})
    assert answer.status_code == 400 and answer.json()["error"]["message"]


NAMES = [
    "../x", "..", ".", "/etc/passwd", "a/b", "a\\b", "a\x00b", "a\nb", "bo ", "bo.", "x" * 300, "🐕", "\u202ebo",
    "b\u200do", "\uff42\uff4f", "<bo>", "<|soi|>", "{{7*7}}", "'; DROP TABLE users; --", "$(id)", "", " ",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_leave_nothing_behind(eve: Person, name: str) -> None:
    def files() -> list[Path]:
        return [path for path in sorted(eve.root.rglob("*")) if "audit" not in path.parts]

    before, lesson = files(), {"name": name, "class_word": "dog", "info": "A dog."}
    made = eve.post("/v1/concepts", files={"photos": ("a.png", png())}, data=lesson)
    assert made.status_code == 400, made.text
    for call in (eve.get, eve.delete):
        told = call(f"/v1/concepts/{quote(name, safe='')}")
        assert told.status_code in (400, 404, 405, 200) and (told.status_code != 200 or name in ("", ".", " ", ".."))
    assert files() == before and eve.get("/v1/concepts").json()["data"] == []


def test_too_long_a_prompt_is_told_the_numbers(ada: Person, give) -> None:  # type: ignore[no-untyped-def]
    give(ada, "bo")
    for answer in (ada.ask("hat " * 400), ada.ask("<bo> " * 1000)):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
        assert "room for 500" in error["message"]


def test_too_many_concepts_are_400_and_many_unknown_names_are_text(ada: Person, give) -> None:  # type: ignore[no-untyped-def]
    for number in range(9):
        give(ada, f"c{number}")
    answer = ada.ask(" ".join(f"<c{number}>" for number in range(9)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_concepts")
    answer = ada.ask("".join(f"<x{number}>" for number in range(10_000)))
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_large_bodies_are_refused_before_and_while_they_are_read(ada: Person) -> None:
    path, headers, pieces = "/v1/chat/completions", {"Content-Type": "application/json"}, [b"x" * MIB] * 100
    begun = time.monotonic()
    known = ada.post(path, content=b"".join(pieces), headers=headers)
    unknown = ada.post(path, content=iter(pieces), headers=headers)
    assert (known.status_code, unknown.status_code) == (413, 413) and time.monotonic() - begun < 5
    assert known.json()["error"]["code"] == "body_too_large"


def test_slow_bodies_end(users: Users, fake: FakeClient) -> None:
    house = House(client=fake, users=users, trainer=NoTrainer(), limits=Limits(body_seconds=0.2))
    _, key = users.keys.create(users.accounts.add("ada").id)
    sent: list[dict[str, object]] = []

    async def run() -> None:
        async def receive() -> dict[str, object]:
            await anyio.sleep(0.05)
            return {"type": "http.request", "body": b" ", "more_body": True}

        async def send(message) -> None:  # type: ignore[no-untyped-def]
            sent.append(message)

        headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/chat/completions", "raw_path": b"",
                 "query_string": b"", "headers": headers, "scheme": "http", "root_path": "", "server": ("x", 80)}  # fmt: skip
        await create_app(house)(scope, receive, send)  # type: ignore[arg-type]

    anyio.run(run)
    assert sent[0]["status"] == 408
