"""Keys, quotas, grants and the audit log: who may do what, and what is never kept."""

import json
import threading
from pathlib import Path

import pytest
from people import bundle

from serve.folder import Folder, Users
from serve.naming import ConceptName
from serve.refusal import Refusal
from serve.users.audit import Audit
from serve.users.database import Database
from serve.users.keys import Keys
from serve.users.quotas import Quota, Quotas
from unictokens.errors import ConceptError, ConfigError, StorageError


class Clock:
    """A clock that stands until it is moved."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(users: Users, clock: Clock) -> Keys:
    return Keys(users.keys.database, clock)


def test_keys_are_hashed_at_rest(users: Users, folder: Folder) -> None:
    key, text = users.keys.create(users.accounts.add("ada").id, label="laptop")
    caller = users.keys.authenticate(text)
    assert caller is not None and (caller.user, caller.key_id) == ("ada", key.id)
    users.keys.database.close()
    secret = text.split("_", 2)[2].encode()
    for file in folder.root.rglob("*"):
        assert file.is_dir() or secret not in file.read_bytes()
    assert (folder.root / "users.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("change", [lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"), str.upper, lambda t: t + "x"])
def test_wrong_keys_are_nobodys(users: Users, change) -> None:  # type: ignore[no-untyped-def]
    _, text = users.keys.create(users.accounts.add("ada").id)
    assert users.keys.authenticate(change(text)) is None
    assert users.keys.authenticate("") is None and users.keys.authenticate("uct_" + "a" * 12 + "_" + "b" * 43) is None


def test_keys_end_when_they_expire_are_revoked_or_their_user_is_locked_out(
    users: Users, keys: Keys, clock: Clock
) -> None:
    ada = users.accounts.add("ada")
    _, short = keys.create(ada.id, days=1)
    key, other = keys.create(ada.id)
    clock.now += 86_399
    assert keys.authenticate(short) is not None
    clock.now += 2
    assert keys.authenticate(short) is None and keys.authenticate(other) is not None
    users.accounts.disable("ada")
    assert keys.authenticate(other) is None
    users.accounts.disable("ada", disabled=False)
    assert keys.authenticate(other) is not None
    keys.revoke(key.prefix)
    assert keys.authenticate(other) is None


def test_a_rotated_key_takes_scopes_and_quotas_along(users: Users, keys: Keys, clock: Clock) -> None:
    old, before = keys.create(users.accounts.add("ada").id, ["chat"], "laptop", 10)
    users.quotas.set(old.id, "requests", Quota(5, 60))
    clock.now += 86_400
    new, after = keys.rotate(old.prefix, grace_seconds=60)
    assert (new.scopes, new.label, new.expires) == (("chat",), "laptop", old.expires)
    assert users.quotas.of_key(new.id)["requests"] == Quota(5, 60)
    assert keys.authenticate(before) is not None and keys.authenticate(after) is not None
    clock.now += 61
    assert keys.authenticate(before) is None and keys.authenticate(after) is not None
    with pytest.raises(ConfigError, match="no longer valid"):
        keys.rotate(old.prefix)


def test_quotas_refill_steadily_and_survive_a_restart(users: Users, folder: Folder, clock: Clock) -> None:
    key, _ = users.keys.create(users.accounts.add("ada").id)
    quotas = Quotas(users.keys.database, {"requests": Quota(3, 30)}, clock)
    for _ in range(3):
        quotas.take(key.id, "requests")
    with pytest.raises(Refusal) as refused:
        quotas.take(key.id, "requests")
    assert refused.value.status == 429 and refused.value.retry_after == 10
    again = Quotas(Database.open(f"sqlite:///{folder.root / 'users.sqlite'}"), {"requests": Quota(3, 30)}, clock)
    with pytest.raises(Refusal):
        again.take(key.id, "requests")
    clock.now += 10
    again.take(key.id, "requests")
    with pytest.raises(Refusal, match="whole quota"):
        quotas.take(key.id, "requests", 4)
    clock.now += 1000
    quotas.take(key.id, "requests", 3)


def test_the_last_one_of_a_quota_is_given_once(users: Users) -> None:
    key, _ = users.keys.create(users.accounts.add("ada").id)
    quotas = Quotas(users.keys.database, {"images": Quota(10, 1e9)})
    got: list[bool] = []

    def take() -> None:
        for _ in range(5):
            try:
                quotas.take(key.id, "images")
                got.append(True)
            except Refusal:
                got.append(False)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(True) == 10 and got.count(False) == 10


def test_a_name_means_only_what_its_user_may_see(users: Users) -> None:
    ada, bob = users.accounts.add("ada"), users.accounts.add("bob")
    mine, theirs = (users.shelf.create(one.id, one.name, "bo") for one in (ada, bob))
    assert mine is not None and theirs is not None and mine.folder != theirs.folder
    names = [ConceptName("bo"), ConceptName("bo", "bob"), ConceptName("bo", "ada"), ConceptName("bo", "eve")]

    def seen() -> dict[str, str]:
        return {str(name): concept.id for name, concept in users.shelf.find(ada.id, "ada", names).items()}

    assert seen() == {"bo": mine.id, "ada/bo": mine.id}
    users.shelf.grant(theirs, ada.id)
    assert seen() == {"bo": mine.id, "ada/bo": mine.id, "bob/bo": theirs.id}
    assert users.shelf.revoke(theirs, ada.id) and not users.shelf.revoke(theirs, ada.id)
    assert seen() == {"bo": mine.id, "ada/bo": mine.id}
    users.shelf.grant(theirs, ada.id)
    users.shelf.delete(theirs)
    again = users.shelf.create(bob.id, "bob", "bo")
    assert again is not None and again.id != theirs.id and "bob/bo" not in seen()


def test_a_name_is_taken_in_whatever_case(users: Users) -> None:
    ada = users.accounts.add("ada")
    with pytest.raises(ConfigError, match="exists already"):
        users.accounts.add("Ada")
    assert users.shelf.create(ada.id, "ada", "bo") is not None
    assert users.shelf.create(ada.id, "ada", "BO") is None


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "ü", "a" * 65, "a\n"])
def test_impossible_handles_are_refused(users: Users, name: str) -> None:
    with pytest.raises(ConceptError):
        users.accounts.add(name)


def test_the_audit_log_is_rotated(tmp_path: Path) -> None:
    audit = Audit(tmp_path, size=300, kept=2)
    for number in range(12):
        audit.write(status=200, number=number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["audit.1.jsonl", "audit.2.jsonl", "audit.jsonl"]
    assert json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[-1])["number"] == 11


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("nonsense", ConfigError),
        ("mongo://x", ConfigError),
        ("sqlite://", ConfigError),
        ("sqlite:////proc/x/y.sqlite", StorageError),
    ],
)
def test_impossible_databases_are_refused_in_one_line(url: str, error: type[Exception]) -> None:
    with pytest.raises(error) as refused:
        Database.open(url)
    assert "\n" not in str(refused.value)


def test_a_database_of_a_newer_version_is_left_alone(folder: Folder, users: Users) -> None:
    with users.keys.database.change() as sql:
        sql.run("UPDATE about SET version = 99")
    with pytest.raises(StorageError, match="version 99"):
        folder.open_users()


def test_published_rows_are_in_the_owners_folder(users: Users) -> None:
    ada = users.accounts.add("ada")
    concept = users.shelf.create(ada.id, "ada", "bo")
    assert concept is not None
    concept.store.publish(bundle("bo"))
    assert concept.folder == users.shelf.root / ada.id / concept.id
    assert concept.served().reference.version == 1 and len(ada.id) == len(concept.id) == 32
