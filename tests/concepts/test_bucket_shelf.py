"""The concept store in a bucket keeps every promise it keeps in a folder, whatever request fails."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from places import FaultyFileSystem

from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.shelf import Shelved
from unictokens.concepts.store import ConceptStore
from unictokens.errors import ConceptError, StorageError
from unictokens.storage.base import Place, open_storage

Make = Callable[..., ConceptBundle]
URL = "faulty://bucket/store"


def seen(store: ConceptStore) -> dict[str, tuple[dict[int, int], dict[str, int]]]:
    """All that a reader finds: rows by version, and aliases; reading fails where a version is not whole."""
    found = {}
    for name, there in store.snapshot().items():
        rows = {}
        for concept in store.versions(name):
            bundle = concept.load()
            assert bundle.card == concept.card()
            rows[concept.version] = bundle.tokens.rows
        assert set(rows) == set(there.versions)
        found[name] = (rows, dict(there.aliases))
    return found


def test_every_place_publishes_lists_finds_and_deletes_alike(place: Place, bundle: Make) -> None:
    store = ConceptStore(place)
    assert store.names() == () and store.list() == () and store.versions("bo") == ()
    assert [store.publish(bundle(rows, config_hash=str(rows))) for rows in (4, 6, 8)] == [1, 2, 3]
    assert store.publish(bundle(name="miru")) == 1
    assert [concept.label for concept in store.list()] == ["bo@v3", "miru@v1"]
    assert [store.get("bo", asked).tokens.rows for asked in (1, "2", "v2", "v0003", "latest")] == [4, 6, 6, 8, 8]
    found = store.find("bo", "6")
    assert found is not None and found.version == 2 and store.find("bo", "6", "other data") is None
    assert store.set_alias("bo", "stable", 1) == 1 and store.set_alias("bo", "next", 2) == 2
    assert store.set_alias("bo", "stable", 3) == 3
    assert store.aliases("bo") == {"stable": 3, "next": 2} and store.get("bo", "next").tokens.rows == 6
    assert store.snapshot() == {"bo": Shelved((1, 2, 3), {"stable": 3, "next": 2}), "miru": Shelved((1,), {})}
    store.delete("bo", 3)
    assert store.snapshot()["bo"] == Shelved((1, 2), {"next": 2})
    with pytest.raises(ConceptError, match=r"no version 'v3'.*v1, v2"):
        store.get("bo", "v3")
    assert store.publish(bundle(4)) == 4
    store.delete("bo")
    assert store.names() == ("miru",) and open_storage(place).list("bo") == ()
    with pytest.raises(ConceptError, match=r"no concept 'bo'.*published: miru"):
        store.get("bo")


def test_every_place_keeps_a_version_under_the_number_that_it_has_elsewhere(place: Place, bundle: Make) -> None:
    store = ConceptStore(place)
    assert store.given("bo") == ()
    assert store.put(bundle(6), 5) and store.put(bundle(4), 2) and not store.put(bundle(8), 5)
    assert [concept.label for concept in store.versions("bo")] == ["bo@v2", "bo@v5"]
    assert store.get("bo").tokens.rows == 6 and store.publish(bundle(8)) == 6
    store.delete("bo", 5)
    assert store.given("bo") == (2, 5, 6) and not store.put(bundle(6), 5)
    store.set_alias("bo", "stable", 2), store.set_alias("bo", "live", 6)
    store.unset_alias("bo", "live"), store.unset_alias("bo", "never set")
    assert store.aliases("bo") == {"stable": 2}


def test_the_same_bundle_is_published_once(place: Place, bundle: Make) -> None:
    store = ConceptStore(place)
    assert store.publish(bundle(config_hash="one"), once=True) == 1
    assert store.publish(bundle(config_hash="two"), once=True) == 2
    assert store.publish(bundle(config_hash="one"), once=True) == 1
    assert store.publish(bundle(config_hash="one")) == 3


def test_publishers_at_once_each_get_their_own_version(faulty: type[FaultyFileSystem], bundle: Make) -> None:
    def publish(rows: int) -> tuple[int, int]:
        return ConceptStore(URL).publish(bundle(rows)), rows

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(publish, [4, 6, 8, 4, 6, 8, 4, 6]))
    assert sorted(version for version, _ in given) == list(range(1, 9))
    for version, rows in given:
        assert ConceptStore(URL).get("bo", version).tokens.rows == rows


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_two_who_publish_the_same_at_once_publish_once(
    faulty: type[FaultyFileSystem], tmp_path: Place, kind: str, bundle: Make
) -> None:
    store = ConceptStore(URL if kind == "bucket" else tmp_path)
    with ThreadPoolExecutor(8) as pool:
        given = set(pool.map(lambda _: store.publish(bundle(config_hash="one"), once=True), range(16)))
    assert given == {1} and len(store.versions("bo")) == 1


def test_aliases_set_at_once_do_not_lose_each_other(faulty: type[FaultyFileSystem], bundle: Make) -> None:
    store = ConceptStore(URL)
    store.publish(bundle())
    store.publish(bundle())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.set_alias("bo", f"a{number % 4}", 1 + number % 2), range(16)))
    assert store.aliases("bo") == {"a0": 1, "a1": 2, "a2": 1, "a3": 2}


def test_asking_what_there_is_takes_one_request(faulty: type[FaultyFileSystem], bundle: Make) -> None:
    store = ConceptStore(URL)
    for name in ("bo", "miru", "tavo"):
        store.publish(bundle(name=name))
        store.set_alias(name, "stable")
    for ask in (store.snapshot, store.names, store.list, lambda: store.versions("bo"), lambda: store.aliases("bo")):
        faulty.requests.clear()
        ask()
        assert faulty.requests == ["list"]


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("action", ["publish", "first", "alias", "delete", "delete all"])
def test_whatever_request_fails_a_reader_sees_before_or_after(
    faulty: type[FaultyFileSystem], bundle: Make, action: str, lost: bool
) -> None:
    store = ConceptStore(URL)
    actions: dict[str, Callable[[], object]] = {
        "publish": lambda: store.publish(bundle(8)),
        "first": lambda: store.publish(bundle(8, name="miru")),
        "alias": lambda: store.set_alias("bo", "stable", 2),
        "delete": lambda: store.delete("bo", 1),
        "delete all": lambda: store.delete("bo"),
    }

    def prepared() -> dict[str, tuple[dict[int, int], dict[str, int]]]:
        faulty.store.clear()
        faulty.heal()
        store.publish(bundle(4))
        store.publish(bundle(6))
        for version in (2, 1):
            store.set_alias("bo", "stable", version)
        faulty.requests.clear()
        return seen(store)

    before = prepared()
    faulty.requests.clear()
    actions[action]()
    requests = len(faulty.requests)
    after = seen(store)
    assert requests >= 3 and after != before
    for number in range(1, requests + 1):
        prepared()
        faulty.requests.clear()
        faulty.fail_at, faulty.lost = number, lost
        with pytest.raises(StorageError, match="faulty://bucket/store"):
            actions[action]()
        faulty.heal()
        found = seen(store)
        if action.startswith("delete"):
            # Aliases go first and versions one by one: what is still listed is whole, and is deleted by asking again.
            left, means = found.get("bo", ({}, {}))
            assert left.items() <= before["bo"][0].items() and means.items() <= before["bo"][1].items()
            if 1 in left:
                actions[action]()
        else:
            assert found in (before, after)
        if action != "delete all":
            assert store.publish(bundle(8)) not in before["bo"][0]
