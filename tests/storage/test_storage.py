"""What every place promises: objects whole or not at all, and of two who claim a name only one gets it."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe, get_context
from pathlib import Path

import pytest

from unictokens.errors import ConfigError, DependencyError, StorageError
from unictokens.output import Output
from unictokens.storage import fsspec_store
from unictokens.storage.base import Place, local_folder, open_storage, parse_place


def test_what_is_written_is_read_listed_and_removed(place: Place) -> None:
    storage = open_storage(place)
    assert storage.read("a/b") is None and storage.list() == () and storage.list("a") == ()
    storage.write("a/b", b"one")
    storage.write("a/b", b"two")
    storage.write("a/c/d", b"")
    storage.write("ab", b"beside")
    storage.write("a/.hidden", b"a writer's own")
    assert (storage.read("a/b"), storage.read("a/c/d")) == (b"two", b"")
    assert storage.list() == ("a/b", "a/c/d", "ab") and storage.list("a") == ("a/b", "a/c/d")
    assert storage.list(deep=False) == ("ab",) and storage.list("a", deep=False) == ("a/b",)
    assert storage.list("nothing", deep=False) == ()
    assert storage.modified("a/b") == pytest.approx(time.time(), abs=60) and storage.modified("a/x") is None
    assert storage.modified("a") is None and storage.modified("a/c") is None  # no objects, but what others lie in
    storage.remove("a/b")
    storage.remove("a/b")
    assert storage.read("a/b") is None and storage.list("a") == ("a/c/d",)


def test_every_byte_comes_back(place: Place) -> None:
    storage = open_storage(place)
    for data in (b"", b"\r", b"\n", b"a\r\n", bytes(range(256)), b"\n--==0" * 3, b"\0" * 300_000):
        storage.write("a", data)
        assert storage.read("a") == data
        storage.remove("b")
        assert storage.create("b", data) and storage.read("b") == data


def test_a_name_is_claimed_once(place: Place) -> None:
    storage = open_storage(place)
    assert storage.create("claims/1", b"mine") and not storage.create("claims/1", b"yours")
    assert storage.read("claims/1") == b"mine"
    storage.remove("claims/1")
    assert storage.create("claims/1", b"yours")


def test_of_many_who_claim_at_once_one_is_told_so(place: Place) -> None:
    if str(place).startswith("memory"):
        pytest.skip("fsspec's memory makes no such promise to threads")
    storage = open_storage(place)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: storage.create("claim", b"%d" % number), range(8)))
    assert told.count(True) == 1 and storage.read("claim") == b"%d" % told.index(True)


def test_a_storage_travels_between_processes(place: Place) -> None:
    open_storage(place).write("a", b"1")
    again = pickle.loads(pickle.dumps(open_storage(place)))
    assert again == open_storage(place) and again.read("a") == b"1"


def test_a_storage_is_asked_from_a_forked_process_too(place: Place) -> None:
    storage = open_storage(place)
    storage.write("a", b"1")
    answer, told = Pipe(duplex=False)
    child = get_context("fork").Process(target=lambda: told.send_bytes(storage.read("a") or b""), daemon=True)
    child.start()
    assert answer.poll(60) and answer.recv_bytes() == b"1"
    child.join()
    assert storage.read("a") == b"1"


def test_a_file_in_the_way_is_no_claim(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        open_storage(tmp_path).create("file/claim", b"")
    assert open_storage(tmp_path).read("file/claim") is None and open_storage(tmp_path).list("file") == ()


def test_places_are_paths_and_urls() -> None:
    assert parse_place("out/here") == Path("out/here") and parse_place("file:///out") == Path("/out")
    assert parse_place("S3://bucket/out/") == "s3://bucket/out"
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        parse_place("s3://")
    with pytest.raises(ConfigError, match="local path"):
        local_folder("s3://bucket/x")
    with pytest.raises(ConfigError) as caught:
        parse_place("s3://AKIA:secret@bucket/x")
    assert "secret" not in str(caught.value) and "environment" in str(caught.value)


def test_an_output_that_can_be_written_is_left_as_it_was(place: Place) -> None:
    Output(place).prepare()
    assert Output(place).storage.list() == ()


def test_a_server_without_conditional_writes_is_refused() -> None:
    with pytest.raises(StorageError, match="If-None-Match"):
        Output("careless://bucket").prepare()


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*given: object, **options: object) -> None:
        raise ImportError("Install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec_store.fsspec, "get_filesystem_class", absent)
    with pytest.raises(DependencyError, match=r"pip install 'unictokens\[gcs\]'"):
        open_storage("gs://bucket/out")


def test_an_unknown_kind_of_url_is_named() -> None:
    with pytest.raises(ConfigError, match="carrierpigeon"):
        open_storage("carrierpigeon://loft")
