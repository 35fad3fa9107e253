"""Nobody takes or learns more than is theirs: keys, quotas and places bound each user alone, headers steer nothing, and neither the
log nor what is left of a deleted concept tells anything."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_client import FakeClient
from people import Person, chat
from starlette.testclient import TestClient

from serve.api.app import create_app
from serve.api.state import House
from serve.folder import Folder, Users
from serve.limits import Limits
from serve.training import NoTrainer
from serve.users.keys import Keys
from serve.users.quotas import Quota
from unictokens.errors import StorageError


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


def test_a_users_database_that_is_away_is_503(http: TestClient, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = users.keys.create(users.accounts.add("ada").id)

    def away(*_: object) -> None:
        raise StorageError("the users' database does not answer (secret address): check it")

    monkeypatch.setattr(Keys, "authenticate", away)
    answer = http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 503 and "secret" not in answer.text and answer.headers["retry-after"]


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
    fake.pause = 0.4
    house = House(client=fake, users=users, trainer=NoTrainer(), limits=Limits(concurrent=2))
    keys = {name: users.keys.create(users.accounts.add(name).id)[1] for name in ("ada", "bob")}
    with TestClient(create_app(house)) as http, ThreadPoolExecutor(8) as threads:

        def ask(name: str) -> int:
            key = {"Authorization": f"Bearer {keys[name]}"}
            return http.post("/v1/chat/completions", json=chat(), headers=key).status_code

        told = list(threads.map(ask, ["ada"] * 6))
        assert sorted(set(told)) == [200, 429] and told.count(200) >= 2
        assert ask("bob") == ask("ada") == 200


def test_steering_headers_do_nothing(ada: Person) -> None:
    names = ("serve_multiplexed_model_id", "Serve-Multiplexed-Model-Id", "X-Request-Timeout-Seconds", "X-Session-Id")
    headers = {**{name: "0.001" for name in names}, "X-Forwarded-For": "1.2.3.4", "X-Request-Disconnect-Disabled": "?1"}
    answer = ada.post("/v1/chat/completions", json=chat(), headers=headers)
    assert answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"] == "Hello."


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
    for word in ("privatename", "mysecretprompt", "Hello", ada.key, ada.key.split("_", 2)[2], "injected"):
        assert not any(word in line for line in lines), word


def test_deleting_leaves_no_file_of_a_concept(ada: Person, give, folder: Folder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    concept = give(ada, "bo")
    assert ada.ask("<bo>").status_code == 200
    assert ada.delete("/v1/concepts/bo").status_code == 200
    left = [path for path in tmp_path.rglob("*") if concept.id in str(path)]
    assert left == [] and ada.ask("<bo>").json()["choices"][0]["message"]["content"] == "<bo>"
    again = give(ada, "bo", seed=5)
    assert again.id != concept.id
