"""Users, keys, quotas, grants and concepts in a real PostgreSQL server, which several replicas share."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from people import bundle
from postgres import PostgresServer
from starlette.testclient import TestClient

from serve.__main__ import main
from serve.api.app import create_app
from serve.api.state import House
from serve.folder import Folder, Users
from serve.naming import ConceptName
from serve.refusal import Refusal
from serve.users.database import Database
from serve.users.following import Link
from serve.users.keys import Keys
from serve.users.quotas import Quota, Quotas
from unictokens.errors import ConfigError, StorageError


@pytest.fixture(scope="module")
def address(postgres_server: PostgresServer) -> str:
    """As `--database` takes it."""
    return postgres_server.database("endpoint").replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def users(folder: Folder, address: str) -> Iterator[Users]:
    opened = folder.open_users(address)
    yield opened
    with opened.keys.database.change() as sql:
        for table in ("following", "grants", "concepts", "buckets", "quotas", "keys", "users"):
            sql.run(f"DELETE FROM {table}")
    opened.keys.database.close()


def at_once(works: list[Callable[[], object]]) -> list[object]:
    """What each of them returns or raises."""
    got: list[object] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        start.wait()
        try:
            got.append(work())
        except Exception as error:
            got.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_replicas_that_start_at_once_make_the_tables_once(postgres_server: PostgresServer) -> None:
    address = postgres_server.database("fresh").replace("postgresql://", "postgresql+psycopg://")
    opened = at_once([lambda: Database.open(address)] * 8)
    assert all(isinstance(one, Database) for one in opened), opened
    first = opened[0]
    assert isinstance(first, Database)
    with first.read() as sql:
        assert len(sql.all("SELECT version FROM about")) == 1
    for one in opened:
        assert isinstance(one, Database)
        one.close()


def test_keys_are_made_found_rotated_and_revoked(users: Users) -> None:
    now = [1_000_000.0]
    keys = Keys(users.keys.database, lambda: now[0])
    ada = users.accounts.add("ada")
    old, before = keys.create(ada.id, ["chat"], "laptop", 10)
    users.quotas.set(old.id, "requests", Quota(5, 60))
    caller = keys.authenticate(before)
    assert caller is not None and (caller.user, caller.key_id, caller.scopes) == ("ada", old.id, {"chat"})
    assert keys.authenticate(before[:-1] + ("A" if before[-1] != "A" else "B")) is None
    new, after = keys.rotate(old.prefix, grace_seconds=60)
    assert (new.scopes, new.label, new.expires) == (old.scopes, old.label, old.expires)
    assert users.quotas.of_key(new.id)["requests"] == Quota(5, 60)
    assert keys.authenticate(before) is not None and keys.authenticate(after) is not None
    now[0] += 61
    assert keys.authenticate(before) is None and keys.authenticate(after) is not None
    users.accounts.disable("ada")
    assert keys.authenticate(after) is None
    users.accounts.disable("ada", disabled=False)
    keys.revoke(new.prefix)
    assert keys.authenticate(after) is None and len(keys.of_user(ada.id)) == 2


def test_a_quota_that_replicas_share_is_given_once(users: Users, address: str) -> None:
    key, _ = users.keys.create(users.accounts.add("ada").id)
    replicas = [Database.open(address) for _ in range(3)]

    def take(database: Database) -> list[bool]:
        quotas, got = Quotas(database, {"images": Quota(10, 1e9)}), []
        for _ in range(5):
            try:
                quotas.take(key.id, "images")
                got.append(True)
            except Refusal as refusal:
                assert refusal.status == 429
                got.append(False)
        return got

    told = at_once([lambda database=database: take(database) for database in replicas * 2])
    assert sum(sum(each) for each in told if isinstance(each, list)) == 10 and all(
        isinstance(one, list) for one in told
    )
    for database in replicas:
        database.close()


def test_names_grants_and_concepts_mean_what_they_mean_in_a_file(users: Users) -> None:
    ada, bob = users.accounts.add("ada"), users.accounts.add("bob")
    with pytest.raises(ConfigError, match="exists already"):
        users.accounts.add("ADA")
    made = at_once([lambda: users.shelf.create(ada.id, "ada", "bo")] * 4)
    assert sum(one is not None for one in made) == 1 and not any(isinstance(one, Exception) for one in made)
    assert users.shelf.create(ada.id, "ada", "BO") is None
    theirs = users.shelf.create(bob.id, "bob", "bo")
    assert theirs is not None
    names = [ConceptName("bo"), ConceptName("bo", "bob"), ConceptName("bo", "eve")]
    assert set(users.shelf.find(ada.id, "ada", names)) == {names[0]}
    users.shelf.grant(theirs, ada.id), users.shelf.grant(theirs, ada.id)
    assert set(users.shelf.find(ada.id, "ada", names)) == {names[0], names[1]}
    assert users.shelf.receivers(theirs) == ("ada",) and users.shelf.granted(ada.id) == (theirs,)
    assert users.shelf.revoke(theirs, ada.id) and not users.shelf.revoke(theirs, ada.id)
    users.shelf.grant(theirs, ada.id)
    users.following.begin(Link(theirs, "http://127.0.0.1:9", "unictokens-bo", "bo"))
    users.following.begin(Link(theirs, "http://127.0.0.1:10", "unictokens-bo", "bo"))
    assert [link.uri for link in users.following.all()] == ["http://127.0.0.1:10"]
    users.shelf.delete(theirs)
    assert users.shelf.granted(ada.id) == () and users.following.all() == ()


def test_who_shares_a_concept_while_it_is_deleted_gets_an_answer(users: Users) -> None:
    ada, bob = users.accounts.add("ada"), users.accounts.add("bob")
    for _ in range(20):
        concept = users.shelf.create(ada.id, "ada", "bo")
        assert concept is not None
        works = [lambda c=concept: users.shelf.delete(c), *[lambda c=concept: users.shelf.grant(c, bob.id)] * 3]
        told = at_once(works)
        assert all(one is None or isinstance(one, bool) for one in told), told
        assert users.shelf.own(ada.id) == () and users.shelf.granted(bob.id) == ()


def test_the_api_and_the_command_use_it(
    users: Users, folder: Folder, address: str, house: House, capsys: object
) -> None:
    def command(*arguments: str) -> str:
        assert main(["users", "--folder", str(folder.root), "--database", address, *arguments]) == 0
        return capsys.readouterr().out  # type: ignore[attr-defined]

    command("add", "ada"), command("add", "bob")
    key = command("key", "create", "ada").splitlines()[0]
    other = command("key", "create", "bob", "--scopes", "chat").splitlines()[0]
    concept = users.shelf.create(users.accounts.get("ada").id, "ada", "bo")
    assert concept is not None
    concept.store.publish(bundle("bo"))
    body = {"model": "fake", "messages": [{"role": "user", "content": "What is <bo>? And <ada/bo>?"}]}
    with TestClient(create_app(house)) as client:
        told = client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}).json()
        assert told["choices"][0]["message"]["content"].splitlines()[-1] == "What is [bo]? And [ada/bo]?"
        command("grant", "ada", "bo", "bob")
        told = client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {other}"}).json()
        assert told["choices"][0]["message"]["content"].splitlines()[-1] == "What is <bo>? And [ada/bo]?"
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {other}"}).status_code == 403
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {key[:-2]}xx"}).status_code == 401
    lines = [json.loads(line) for line in (folder.root / "audit/audit.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == [200, 200, 403, 401]
    assert [line["user"] for line in lines[:3]] == [users.accounts.get(name).id for name in ("ada", "bob", "bob")]
    assert not (folder.root / "users.sqlite").exists()


def test_a_server_that_does_not_answer_is_one_line_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as refused:
        Database.open("postgresql+psycopg://me:secret-word@127.0.0.1:9/endpoint")
    assert "\n" not in str(refused.value) and "secret-word" not in str(refused.value)
