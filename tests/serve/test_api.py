"""The API's promises to a client that behaves: OpenAI's shapes, names by position, streams that end."""

import base64
import io
import json

import numpy as np
import pytest
from fake_client import FakeClient, plain
from people import Person, png, uri, with_picture
from PIL import Image

from serve.client import Unavailable
from serve.folder import Users
from serve.training import NoTrainer
from unictokens.concepts.prompt import Rows
from unictokens.errors import Busy, TimedOut


def events(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]


def test_models_are_the_backbone_and_the_callers_concepts(ada: Person, bob: Person, give, users: Users) -> None:
    give(ada, "bo"), users.shelf.grant(give(bob, "miru"), ada.user.id), give(bob, "secret")
    users.shelf.create(ada.user.id, "ada", "untrained")
    cards = ada.get("/v1/models").json()["data"]
    assert [(card["id"], card["parent"]) for card in cards] == [("fake", None), ("bo", "fake"), ("bob/miru", "fake")]
    assert ada.get("/v1/models/bob/miru").json()["owned_by"] == "bob"
    assert ada.get("/v1/models/bob/secret").status_code == 404


def test_names_become_rows_and_introduce_the_concept(ada: Person, give, fake: FakeClient) -> None:
    concept = give(ada, "bo")
    reply = ada.ask("Is <bo> here? <kai> <token_3> <|soi|>").json()
    assert reply["choices"][0]["message"]["content"].startswith("[bo] is [bo].\nIs [bo] here?")
    assert reply["usage"]["total_tokens"] > reply["usage"]["prompt_tokens"] > 0
    (asked,) = fake.asked
    assert asked.names == ("bo",) and asked.concepts[0].concept == concept.id
    assert asked.turns[0].question[-1] == " here? <kai> <token_3> <|soi|>"
    assert asked.decoding.top_k == 1


def test_a_concept_can_be_the_model(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    assert ada.ask("What colour?", model="bo").status_code == 200
    assert fake.asked[0].names == ("bo",) and isinstance(fake.asked[0].turns[0].question[0], Rows)
    body = {"prompt": "at the beach", "model": "bo"}
    assert ada.post("/v1/images/generations", json=body).status_code == 200
    assert any(isinstance(piece, Rows) for piece in fake.drawn[0].prompt)


def test_conversations_keep_their_turns(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo"), give(ada, "miru", seed=1)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who is <bo>?"},
        {"role": "assistant", "content": "<bo> is a dog."},
        {"role": "user", "content": [{"type": "text", "text": "And <miru>?"}]},
    ]
    said = ada.post("/v1/chat/completions", json={"model": "fake", "messages": messages}).json()
    first, second = (plain(turn.question, ("bo", "miru")) for turn in fake.asked[0].turns)
    assert first.endswith("[bo][bo].\n[miru] is [miru].\nBe brief.\nWho is [bo]?") or "Be brief.\nWho is [bo]?" in first
    assert plain(fake.asked[0].turns[0].answer, ("bo", "miru")) == "[bo] is a dog." and second == "And [miru]?"
    assert said["choices"][0]["message"]["content"] == "And [miru]?"
    assert fake.asked[0].names == ("bo", "miru")
    for wrong in (messages[2:], messages[:3]):
        answer = ada.post("/v1/chat/completions", json={"model": "fake", "messages": wrong})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_messages")


def test_pictures_reach_the_model_at_its_size(ada: Person, fake: FakeClient) -> None:
    assert ada.post("/v1/chat/completions", json=with_picture("What?", uri(png()))).status_code == 200
    picture = fake.asked[0].picture
    assert picture is not None and picture.size == (32, 32) and picture.getpixel((5, 5)) == (255, 0, 0)


def test_streams_end_with_done(ada: Person) -> None:
    text = ada.ask("Hello there.", stream=True, stream_options={"include_usage": True}).text
    *chunks, done = events(text)
    assert done == "[DONE]"
    told = [json.loads(chunk) for chunk in chunks]
    deltas = [chunk["choices"][0]["delta"].get("content", "") for chunk in told if chunk["choices"]]
    assert "".join(deltas) == "Hello there." and told[-2]["choices"][0]["finish_reason"] == "stop"
    assert told[-1]["choices"] == [] and told[-1]["usage"]["completion_tokens"] == 2


def test_streams_that_fail_end_with_an_error(ada: Person, fake: FakeClient, caplog: pytest.LogCaptureFixture) -> None:
    fake.fails = RuntimeError("the secret of <bo>")
    last = events(ada.ask("Hello.", stream=True).text)[-1]
    assert json.loads(last)["error"]["code"] == "server_error" and "secret" not in last
    body = {"prompt": "A hat.", "stream": True, "partial_images": 1}
    told = ada.post("/v1/images/generations", json=body).text
    assert "event: error" in told and json.loads(events(told)[-1])["error"]["type"] == "server_error"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Busy("busy", 3.0), 429, "server_busy"),
        (TimedOut("too long"), 504, "deadline_exceeded"),
        (Unavailable("its rows are damaged"), 503, "concept_unavailable"),
        (RuntimeError("boom"), 500, "server_error"),
    ],
)
def test_refusals_before_the_first_event_are_ordinary_errors(
    ada: Person, fake: FakeClient, error: Exception, status: int, code: str, stream: bool
) -> None:
    fake.refuses = error
    answer = ada.ask("Hello.", stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "boom" not in answer.text and (status != 429 or answer.headers["retry-after"] == "3")


def test_drawings_have_a_seed_each(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    body = {"prompt": "A photo of <bo>.", "n": 2, "seed": 7, "steps": 3, "guidance": 1.5, "size": "32x32"}
    answer = ada.post("/v1/images/generations", json=body).json()
    assert [one["seed"] for one in answer["data"]] == [7, 8]
    pictures = [Image.open(io.BytesIO(base64.b64decode(one["b64_json"]))) for one in answer["data"]]
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(7, 0, 255), (8, 0, 255)]
    assert fake.drawn[0].sampling.steps == 3 and fake.drawn[0].sampling.guidance == 1.5


def test_drawing_streams_show_partial_pictures(ada: Person) -> None:
    body = {"prompt": "A hat.", "stream": True, "partial_images": 2}
    text = ada.post("/v1/images/generations", json=body).text
    *told, done = events(text)
    kinds = [json.loads(one)["type"] for one in told]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"] and done == "[DONE]"


def test_edits_keep_every_pixel_outside_the_mask(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    files = {"image": ("a.png", png((64, 64))), "mask": ("m.png", stream.getvalue())}
    data = {"prompt": "<bo> here", "seed": "5", "steps": "2"}
    answer = ada.post("/v1/images/edits", files=files, data=data)
    assert answer.status_code == 200, answer.text
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))))
    assert (pixels[:, :16] == (5, 0, 255)).all() and (pixels[:, 16:] == (255, 0, 0)).all()
    canvas = fake.drawn[0].canvas
    assert canvas is not None and canvas.redraw[:, :16].all() and not canvas.redraw[:, 16:].any()


def test_teaching_starts_a_run_and_deleting_leaves_nothing(ada: Person, users: Users, house, fake: FakeClient) -> None:
    data = {"name": "bo", "class_word": "dog", "info": "<bo> is a dog.", "facts": ["<bo> likes ham.", "<bo> is old."]}
    photo = Image.new("RGB", (40, 30), "red")
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    stream = io.BytesIO()
    photo.save(stream, "JPEG", exif=exif)
    files = [("photos", ("a.jpg", stream.getvalue())), ("photos[]", ("b.png", png()))]
    answer = ada.post("/v1/concepts", data=data, files=files)
    assert answer.status_code == 202, answer.text
    run, (concept,) = answer.json()["run"], users.shelf.own(ada.user.id)
    assert run["status"] == "failed" and isinstance(house.trainer, NoTrainer)
    kept = [path for path in concept.folder.rglob("*") if path.is_file()]
    assert len([path for path in kept if path.suffix == ".png"]) == 2
    assert not any(b"secret place" in path.read_bytes() for path in kept)
    assert ada.post("/v1/concepts", data={**data, "name": "Bo"}, files=files).status_code == 409
    followed = ada.get(f"/v1/concepts/bo/runs/{run['id']}/events").text
    assert json.loads(events(followed)[0])["id"] == run["id"] and events(followed)[-1] == "[DONE]"
    assert ada.delete("/v1/concepts/bo").json()["deleted"] is True
    assert not concept.folder.exists() and fake.forgotten == [concept.id] and users.shelf.own(ada.user.id) == ()
    assert ada.get("/v1/concepts/bo").status_code == 404


def test_versions_and_aliases_decide_what_a_name_means(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    give(ada, "bo", seed=1)
    for text, version in (("<bo>", 2), ("<bo@1>", 1), ("<ada/bo>", 2)):
        assert ada.ask(text).status_code == 200
        assert fake.asked[-1].concepts[0].version == version
    answer = ada.put("/v1/concepts/bo/aliases/live", json={"version": 1}).json()
    assert answer["served"] == 1 and answer["aliases"] == {"live": 1}
    ada.ask("<bo> and <bo@2>")
    assert [reference.version for reference in fake.asked[-1].concepts] == [1, 2]
    assert ada.ask("<bo@9>").json()["error"]["code"] == "version_not_found"
    assert ada.put("/v1/concepts/bo/aliases/latest", json={"version": 1}).status_code == 400
    assert ada.put("/v1/concepts/bo/aliases/live", json={"version": 7}).status_code == 404
    assert ada.delete("/v1/concepts/bo/versions/1").status_code == 200
    assert [one["version"] for one in ada.get("/v1/concepts/bo").json()["versions"]] == [2]


def test_a_concept_without_versions_says_so(ada: Person, users: Users) -> None:
    users.shelf.create(ada.user.id, "ada", "bo")
    assert (ada.ask("<bo>").status_code, ada.ask("<bo>").json()["error"]["code"]) == (409, "concept_not_ready")


def test_damaged_files_fail_only_requests_that_name_the_concept(ada: Person, give) -> None:
    concept = give(ada, "bo")
    give(ada, "miru")
    for card in concept.folder.rglob("card.json"):
        card.write_text("{")
    assert (ada.ask("<bo>").status_code, ada.ask("<bo>").json()["error"]["code"]) == (503, "concept_unavailable")
    assert ada.ask("<miru>").status_code == 200


def test_the_document_describes_every_route(http) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/models", "/v1/chat/completions", "/v1/images/edits", "/v1/concepts", "/health"} <= set(paths)
    for path, methods in paths.items():
        for method, about in methods.items():
            assert about["operationId"] and about.get("summary"), (method, path)
            if path != "/health":
                assert about["security"] and "429" in about["responses"], (method, path)


def test_health_needs_no_key(http) -> None:
    assert http.get("/health").json() == {"status": "ok"}
