"""Hostile and malformed requests get a 4xx in bounded time and memory, and leave nothing behind."""

import io
import json
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_client import FakeClient
from people import Person
from PIL import Image
from starlette.testclient import TestClient
from test_api import png, uri, with_picture

from serve.api.app import create_app
from serve.api.state import House
from serve.folder import Folder, Users
from serve.limits import MIB, Limits
from serve.training import NoTrainer
from serve.users.keys import Keys
from serve.users.quotas import Quota

NAMES = [
    "../x", "..", ".", "/etc/passwd", "a/b", "a\\b", "a\x00b", "a\nb", "bo ", "bo.", "x" * 300, "🐕", "\u202ebo",
    "b\u200do", "\uff42\uff4f", "<bo>", "<|soi|>", "{{7*7}}", "'; DROP TABLE users; --", "$(id)", "", " ",
]  # fmt: skip
LESSON = {"class_word": "dog", "info": "A dog."}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header claims a size; its pixels may be missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def frames(kind: str) -> bytes:
    stream = io.BytesIO()
    many = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in range(0, 200, 2)]
    many[0].save(stream, kind, save_all=True, append_images=many[1:])
    return stream.getvalue()


def text_bomb() -> bytes:
    bomb = b"Comment\x00\x00" + zlib.compress(b"a" * (200 * MIB), 9)
    whole = png((32, 32))
    return whole[:33] + chunk(b"zTXt", bomb) + whole[33:]


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("../x.png", b"0" * 10_000_000)
    return stream.getvalue()


def exif_heavy() -> bytes:
    return (
        png((32, 32), kind="JPEG")[:2] + (b"\xff\xe1\xff\xff" + b"\x00" * 65_533) * 320 + png((32, 32), kind="JPEG")[2:]
    )


PICTURES: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "9000x9000": (lambda: png_of(9000, 9000, b"\x00" * 9001 * 9000), (413,)),
    "claims 12000x12000": (lambda: png_of(12_000, 12_000), (413,)),
    "claims 20000x20000": (lambda: png_of(20_000, 20_000), (413,)),
    "claims 4 gigapixels": (lambda: png_of(2**31 - 1, 2**31 - 1), (413, 400)),
    "1x1": (lambda: png((1, 1)), (400,)),
    "1x60000": (lambda: png_of(1, 60_000, b"\x00" * 2 * 60_000), (400,)),
    "20x16000": (lambda: png((20, 16_000)), (400,)),
    "animated PNG": (lambda: frames("PNG"), (400,)),
    "animated WebP": (lambda: frames("WEBP"), (400,)),
    "GIF": (lambda: frames("GIF"), (400,)),
    "truncated": (lambda: png((200, 200), kind="JPEG")[:400], (400,)),
    "no pixels": (lambda: png_of(64, 64), (400,)),
    "text bomb": (text_bomb, (400,)),
    "20 MB of EXIF": (exif_heavy, (413,)),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", (400,)),
    "zip": (archive, (400,)),
    "HEIC": (lambda: b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1" + b"\x00" * 100, (400,)),
    "TIFF": (lambda: png(kind="TIFF"), (400,)),
    "empty": (lambda: b"", (400,)),
    "noise": (lambda: bytes(range(256)) * 40, (400,)),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", PICTURES)
def test_hostile_pictures_are_refused_quickly_in_little_memory(eve: Person, name: str) -> None:
    make, statuses = PICTURES[name]
    data = make()
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    answers = [
        eve.post("/v1/chat/completions", json=with_picture("What?", uri(data))),
        eve.post("/v1/images/edits", files={"image": ("a.png", data)}, data={"prompt": "A hat."}),
        eve.post("/v1/concepts", files={"photos": ("a.png", data)}, data={**LESSON, "name": "bo"}),
    ]
    assert {answer.status_code for answer in answers} <= set(statuses), [answer.text for answer in answers]
    assert all(answer.json()["error"]["message"] for answer in answers)
    assert time.process_time() - begun < 3.0, "a second each"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("P", "PNG"), ("I;16", "PNG"), ("LA", "PNG"), ("L", "WEBP")]
)
def test_unusual_but_honest_pictures_are_read(eve: Person, mode: str, kind: str) -> None:
    colour = {"CMYK": (9, 9, 9, 9), "LA": (9, 9)}.get(mode, 9)
    answer = eve.post("/v1/chat/completions", json=with_picture("What?", uri(png((40, 30), colour, mode, kind))))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data", "https://example.com/a.png", "file:///etc/passwd", "gopher://x",
        "http://[::ffff:169.254.169.254]/", "//host/a.png", "/etc/passwd", "", "data:", "data:text/html;base64,aGk=",
        "data:image/svg+xml;base64,aGk=", "data:image/png,raw", "data:image/png;base64,***",
        "DATA:IMAGE/PNG;BASE64,a", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_nothing_is_fetched(eve: Person, url: str) -> None:
    answer = eve.post("/v1/chat/completions", json=with_picture("What?", url))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_leave_nothing_behind(eve: Person, name: str) -> None:
    before = sorted(eve.root.rglob("*"))
    made = eve.post("/v1/concepts", files={"photos": ("a.png", png())}, data={**LESSON, "name": name})
    assert made.status_code == 400, made.text
    for call in (eve.get, eve.delete):
        told = call(f"/v1/concepts/{httpx_quoted(name)}")
        assert told.status_code in (400, 404, 405, 200) and (told.status_code != 200 or name in ("", ".", " ", ".."))
    after = [path for path in sorted(eve.root.rglob("*")) if "audit" not in path.parts]
    assert (
        after == [path for path in before if "audit" not in path.parts] and eve.get("/v1/concepts").json()["data"] == []
    )


def httpx_quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def chat(**more: object) -> dict[str, object]:
    return {"model": "fake", "messages": [{"role": "user", "content": "Hello."}], **more}


BODIES: dict[str, str | bytes] = {
    "no JSON": "{",
    "not an object": "[]",
    "a number": "1",
    "nothing": "",
    "invalid UTF-8": b'{"model": "\xff"}',
    "depth 100000": "[" * 100_000 + "]" * 100_000,
    "depth in content": '{"model": "fake", "messages": ' + "[" * 5000 + "]" * 5000 + "}",
    "temperature 1e999": '{"model": "fake", "messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
    "temperature NaN": '{"model": "fake", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "seed of 5000 digits": '{"model": "fake", "messages": [{"role": "user", "content": "x"}], "seed": '
    + "9" * 5000
    + "}",
    "lone surrogate": '{"model": "fake", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "surrogate as a field": '{"model": "fake", "messages": [], "\\ud800": 1}',
    "NUL": json.dumps(chat(messages=[{"role": "user", "content": "a\x00b"}])),
    "escape": json.dumps(chat(messages=[{"role": "user", "content": "\x1b[2J"}])),
    "1 MB prompt": json.dumps(chat(messages=[{"role": "user", "content": "hat " * 250_000}])),
    "10,000 messages": json.dumps(chat(messages=[{"role": "user", "content": "x"}] * 10_000)),
    "no messages": json.dumps(chat(messages=[])),
    "unknown role": json.dumps(chat(messages=[{"role": "root", "content": "x"}])),
    "unknown field": json.dumps(chat(serve_multiplexed_model_id="x")),
    "temperature as text": json.dumps(chat(temperature="0.5")),
    "seed 2**70": json.dumps(chat(seed=2**70)),
    "seed -1": json.dumps(chat(seed=-1)),
    "seed as float": json.dumps(chat(seed=1.5)),
    "n 2": json.dumps(chat(n=2)),
    "max_tokens 0": json.dumps(chat(max_tokens=0)),
    "max_tokens 10**9": json.dumps(chat(max_tokens=10**9)),
    "stop list": json.dumps(chat(stop=["x"] * 10_000)),
    "null content": json.dumps(chat(messages=[{"role": "user", "content": None}])),
    "two pictures": json.dumps(
        chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri(png())}}] * 2}])
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_malformed_chats_are_400(eve: Person, name: str) -> None:
    body = BODIES[name]
    headers = {"Content-Type": "application/json"}
    answer = eve.post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (
        set(error) == {"message", "type", "param", "code"} and "\n" not in error["message"] and len(answer.text) < 2000
    )


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


def test_too_long_a_prompt_is_told_the_numbers(ada: Person, give) -> None:  # type: ignore[no-untyped-def]
    give(ada, "bo")
    for answer in (ada.ask("hat " * 400), ada.ask("<bo> " * 1000)):
        error = answer.json()["error"]
        assert (
            answer.status_code == 400
            and error["code"] == "context_length_exceeded"
            and "room for 500" in error["message"]
        )


def test_too_many_concepts_are_400_and_many_unknown_names_are_text(ada: Person, give) -> None:  # type: ignore[no-untyped-def]
    for number in range(9):
        give(ada, f"c{number}")
    answer = ada.ask(" ".join(f"<c{number}>" for number in range(9)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_concepts")
    assert (
        ada.ask("".join(f"<x{number}>" for number in range(10_000))).json()["error"]["code"]
        == "context_length_exceeded"
    )


def test_large_bodies_are_refused_before_and_while_they_are_read(ada: Person) -> None:
    sent = 0

    def pieces():  # type: ignore[no-untyped-def]
        nonlocal sent
        for _ in range(100):
            sent += MIB
            yield b"x" * MIB

    begun = time.monotonic()
    known = ada.post("/v1/chat/completions", content=b"x" * (100 * MIB), headers={"Content-Type": "application/json"})
    unknown = ada.post("/v1/chat/completions", content=pieces(), headers={"Content-Type": "application/json"})
    assert (known.status_code, unknown.status_code) == (413, 413) and time.monotonic() - begun < 5
    assert known.json()["error"]["code"] == "body_too_large"


def test_who_has_no_key_makes_nobody_read_a_body(http: TestClient, users: Users) -> None:
    key, text = users.keys.create(users.accounts.add("eve").id, ["models"])
    body = json.dumps(chat()).encode()
    for headers in ({}, {"Authorization": "Bearer uct_x"}, {"Authorization": text}, {"Authorization": f"Basic {text}"}):
        answer = http.post("/v1/chat/completions", content=body, headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    twice = [("Authorization", f"Bearer {text}"), ("Authorization", f"Bearer {text}")]
    assert http.post("/v1/chat/completions", content=body, headers=twice).status_code == 401
    right = {"Authorization": f"Bearer {text}"}
    for path, sent in (("/v1/chat/completions", chat()), ("/v1/images/generations", {"prompt": "x"})):
        answer = http.post(path, json=sent, headers=right)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "missing_scope")
    assert http.post("/v1/concepts", headers=right).status_code == 403
    assert http.get("/v1/models", headers=right).status_code == 200
    users.keys.revoke(key.prefix)
    assert http.get("/v1/models", headers=right).status_code == 401


def test_over_quota_is_429_and_says_when(ada: Person, bob: Person, users: Users) -> None:
    users.quotas.set(ada.key_id, "images", Quota(2, 3600))
    assert ada.post("/v1/images/generations", json={"prompt": "x", "n": 2}).status_code == 200
    answer = ada.post("/v1/images/generations", json={"prompt": "x"})
    assert answer.status_code == 429 and 1000 < int(answer.headers["retry-after"]) <= 1800
    users.quotas.set(ada.key_id, "bytes", Quota(300, 3600))
    assert ada.ask("hat " * 100).status_code == 429
    users.quotas.set(ada.key_id, "requests", Quota(1, 60))
    assert [ada.get("/v1/models").status_code for _ in range(3)][-1] == 429
    users.quotas.set(ada.key_id, "requests", Quota(600, 60))
    assert bob.get("/v1/models").status_code == 200


def test_one_user_cannot_take_all_places(users: Users, fake: FakeClient) -> None:
    from concurrent.futures import ThreadPoolExecutor

    fake.pause = 0.4
    house = House(client=fake, users=users, trainer=NoTrainer(), limits=Limits(concurrent=2))
    keys = {name: users.keys.create(users.accounts.add(name).id)[1] for name in ("ada", "bob")}
    with TestClient(create_app(house)) as http, ThreadPoolExecutor(8) as threads:

        def ask(name: str) -> int:
            return http.post(
                "/v1/chat/completions", json=chat(), headers={"Authorization": f"Bearer {keys[name]}"}
            ).status_code

        told = list(threads.map(ask, ["ada"] * 6))
        assert sorted(set(told)) == [200, 429] and told.count(200) >= 2
        assert ask("bob") == ask("ada") == 200


def test_steering_headers_do_nothing(ada: Person) -> None:
    names = ("serve_multiplexed_model_id", "Serve-Multiplexed-Model-Id", "X-Request-Timeout-Seconds", "X-Session-Id")
    headers = {**{name: "0.001" for name in names}, "X-Forwarded-For": "1.2.3.4", "X-Request-Disconnect-Disabled": "?1"}
    answer = ada.post("/v1/chat/completions", json=chat(), headers=headers)
    assert answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"] == "Hello."


def test_slow_bodies_end(users: Users, fake: FakeClient) -> None:
    import anyio

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


def test_the_log_has_neither_prompts_nor_keys_nor_names(ada: Person, give, folder: Folder) -> None:  # type: ignore[no-untyped-def]
    concept = give(ada, "privatename")
    ada.ask("What does <privatename> like? mysecretprompt")
    ada.get("/v1/concepts/privatename")
    ada.get("/v1/concepts/a%0Ainjected")
    lines = (folder.root / "audit" / "audit.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert len(told) == 3 and told[0]["concepts"] == [f"{concept.id}@1"] and told[1]["concept"] == concept.id
    assert told[0]["user"] == ada.user.id and told[0]["action"] == "create_chat_completion" and told[0]["status"] == 200
    assert told[1]["action"] == "get_concept"
    for word in ("privatename", "mysecretprompt", "Hello", ada.key, ada.key.rsplit("_", 1)[1], "injected"):
        assert not any(word in line for line in lines), word


def test_a_users_database_that_is_away_is_503(http: TestClient, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = users.keys.create(users.accounts.add("ada").id)

    def away(*_: object) -> None:
        from unictokens.errors import StorageError

        raise StorageError("the users' database does not answer (secret address): check it")

    monkeypatch.setattr(Keys, "authenticate", away)
    answer = http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 503 and "secret" not in answer.text and answer.headers["retry-after"]


def test_deleting_leaves_no_file_of_a_concept(ada: Person, give, folder: Folder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    concept = give(ada, "bo")
    assert ada.ask("<bo>").status_code == 200
    assert ada.delete("/v1/concepts/bo").status_code == 200
    left = [path for path in tmp_path.rglob("*") if concept.id in str(path)]
    assert left == [] and ada.ask("<bo>").json()["choices"][0]["message"]["content"] == "<bo>"
    again = give(ada, "bo", seed=5)
    assert again.id != concept.id
