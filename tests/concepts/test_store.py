"""Promises of the concept store and of atomic writing."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unictokens import atomic
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.store import ConceptStore
from unictokens.errors import ConceptError, StorageError

Make = Callable[..., ConceptBundle]


def test_versions_count_up_and_latest_is_the_last(tmp_path: Path, bundle: Make) -> None:
    store = ConceptStore(tmp_path / "store")
    assert store.list() == () and store.names() == ()
    assert [store.publish(bundle(rows)) for rows in (4, 6, 8)] == [1, 2, 3]
    assert store.publish(bundle(name="miru")) == 1
    assert [concept.label for concept in store.list()] == ["bo@v3", "miru@v1"]
    assert [store.get("bo", asked).tokens.rows for asked in (1, "2", "v2", "v0003", "latest")] == [4, 6, 6, 8, 8]


def test_an_alias_stays_where_it_was_put(tmp_path: Path, bundle: Make) -> None:
    store = ConceptStore(tmp_path)
    store.publish(bundle(4))
    assert store.set_alias("bo", "stable") == 1
    store.publish(bundle(8))
    assert store.get("bo", "stable").tokens.rows == 4
    store.set_alias("bo", "stable", 2)
    assert store.get("bo", "stable").tokens.rows == 8
    for alias in ("latest", "v2", "7", "a/b"):
        with pytest.raises(ConceptError):
            store.set_alias("bo", alias)


def test_unknown_concepts_and_versions_name_what_there_is(tmp_path: Path, bundle: Make) -> None:
    store = ConceptStore(tmp_path)
    store.publish(bundle())
    with pytest.raises(ConceptError, match=r"no concept 'bu'.*published: bo"):
        store.get("bu")
    with pytest.raises(ConceptError, match=r"no version 'v9'.*v1"):
        store.get("bo", "v9")
    with pytest.raises(ConceptError, match="no version 'beta'"):
        store.get("bo", "beta")
    with pytest.raises(ConceptError):
        store.get("../bo")


def test_a_published_configuration_is_found_again(tmp_path: Path, bundle: Make) -> None:
    store = ConceptStore(tmp_path)
    store.publish(bundle(config_hash="one"))
    store.publish(bundle(config_hash="two"))
    found = store.find("bo", "one")
    assert found is not None and found.version == 1
    assert store.find("bo", "one", "other data") is None
    assert store.find("bo", "three") is None and store.find("nobody", "one") is None


def test_a_version_of_other_frozen_weights_hides_none_of_ours(tmp_path: Path, bundle: Make) -> None:
    store, ours = ConceptStore(tmp_path), bundle(config_hash="one")
    mine = ours.card.backbone.fingerprint
    assert store.publish(ours) == 1
    theirs = replace(ours, card=replace(ours.card, backbone=replace(ours.card.backbone, fingerprint="e" * 64)))
    assert store.publish(theirs, once=True) == 2 and store.publish(ours, once=True) == 1
    found = [store.find("bo", "one", fingerprint=fingerprint) for fingerprint in (mine, "e" * 64, None)]
    assert [each.version for each in found if each is not None] == [1, 2, 2]
    assert store.find("bo", "one", fingerprint="d" * 64) is None


def test_a_deleted_version_number_is_never_given_again(tmp_path: Path, bundle: Make) -> None:
    store = ConceptStore(tmp_path)
    for _ in range(2):
        store.publish(bundle())
    store.set_alias("bo", "stable", 2)
    store.delete("bo", 2)
    assert [concept.version for concept in store.versions("bo")] == [1] and store.aliases("bo") == {}
    assert store.publish(bundle()) == 3
    store.delete("bo")
    assert store.names() == () and not (tmp_path / "bo").exists()


def test_publishers_at_once_each_get_their_own_version(tmp_path: Path, bundle: Make) -> None:
    store = ConceptStore(tmp_path)
    start = threading.Barrier(8)

    def publish(rows: int) -> tuple[int, int]:
        start.wait()
        return store.publish(bundle(rows)), rows

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(publish, [4, 6, 8, 4, 6, 8, 4, 6]))
    assert sorted(version for version, _ in given) == list(range(1, 9))
    for version, rows in given:
        assert store.get("bo", version).tokens.rows == rows


def test_readers_never_see_a_half_written_version(tmp_path: Path, bundle: Make) -> None:
    store = ConceptStore(tmp_path)
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            for concept in store.versions("bo"):
                assert concept.load().card == concept.card()
                seen.append(concept.version)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for _ in range(10):
            store.publish(bundle())
        done.set()
        for reader in readers:
            reader.result()
    assert seen


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Make) -> None:
    store = ConceptStore(tmp_path)
    store.publish(bundle())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        store.publish(bundle())
    target = tmp_path / "old.json"
    target.write_text("old")
    with pytest.raises(StorageError, match="disk is full"):
        atomic.write_json(target, {"new": 1})
    assert target.read_text() == "old"
    assert sorted(path.name for path in (tmp_path / "bo").iterdir()) == ["v0001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bo", "old.json"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, bundle: Make) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        ConceptStore(tmp_path / "file" / "store").publish(bundle())
    assert "\n" not in str(caught.value)
    # /proc refuses new folders to every user, root included.
    with pytest.raises(StorageError):
        atomic.write_bytes(Path("/proc/unictokens/x"), b"")


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic.new_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with atomic.new_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("x")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "x").read_text() == "x"
    with pytest.raises(StorageError, match="already exists"), atomic.new_folder(tmp_path / "a") as folder:
        (folder / "y").write_text("y")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_files_follow_the_umask(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "ours", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_damaged_aliases_are_named(tmp_path: Path, bundle: Make) -> None:
    store = ConceptStore(tmp_path)
    store.publish(bundle())
    (tmp_path / "bo" / "aliases.json").write_text("[")
    with pytest.raises(StorageError, match=r"aliases\.json"):
        store.get("bo", "stable")
    assert torch.isfinite(store.get("bo").tokens.embed_KD).all()


def test_wherever_a_publication_fails_readers_see_before_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Make
) -> None:
    calls, fail_at = 0, 0

    def watched(call: Callable[..., object]) -> Callable[..., object]:
        def run(*given: object) -> object:
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return call(*given)

        return run

    for name in ("fsync", "replace", "rename"):
        monkeypatch.setattr(atomic.os, name, watched(getattr(os, name)))
    ConceptStore(tmp_path / "whole").publish(bundle(8))
    for number in range(1, calls + 1):
        store = ConceptStore(tmp_path / str(number))
        store.publish(bundle(4))
        calls, fail_at = 0, number
        with pytest.raises(StorageError):
            store.publish(bundle(8))
        fail_at = 0
        assert [concept.load().tokens.rows for concept in store.versions("bo")] in ([4], [4, 8])
        assert not [path for path in (store.root / "bo").iterdir() if path.name.startswith(".")]
