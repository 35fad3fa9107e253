"""A journal in a bucket: a few objects that are put again, nothing of which is lost, read out of order, or put too often."""

import pytest
from cluster_fakes import Clock
from places import FaultyFileSystem

from cluster.journal import LEAST_LINES, Journal, read_journal
from unictokens.errors import StorageError
from unictokens.storage.base import open_storage


def test_what_was_synced_is_read_in_order_through_many_parts(bucket: str) -> None:
    assert list(read_journal(bucket, "queue")) == []
    clock = Clock()
    journal = Journal(bucket, "queue", clock)
    journal.begin([{"run": "a"}])
    records = [{"run": "a", "epoch": number, "error": "ä\n" * 2000} for number in range(30)]
    for number, record in enumerate(records):
        journal.append(record)
        clock.now += 0.3
        if number % 4 == 3:
            journal.sync()
    journal.close()
    assert list(read_journal(bucket, "queue")) == [{"run": "a"}, *records]
    assert 2 <= len(open_storage(bucket).list()) <= 6, "a journal is a few objects"


def test_no_object_of_a_journal_is_put_twice_within_a_second(faulty: type[FaultyFileSystem]) -> None:
    clock = Clock()
    journal = Journal("faulty://out", "queue", clock)
    journal.begin([])
    records = [{"run": "a", "epoch": number} for number in range(20)]
    put: dict[str, bytes] = {}
    for number, record in enumerate(records):
        journal.append(record)
        journal.sync()
        again = {name for name, data in contents().items() if name in put and put[name] != data}
        assert len(again) == (1 if number and number % 3 == 0 else 0), "the last one, when it is older than a second"
        put = contents()
        clock.now += 0.2 if number % 3 < 2 else 1.5
    assert list(read_journal("faulty://out", "queue")) == records


def contents() -> dict[str, bytes]:
    storage = open_storage("faulty://out")
    return {name: storage.read(name) or b"" for name in storage.list()}


def test_a_replaced_writer_notices(bucket: str) -> None:
    clock = Clock()
    old, new = Journal(bucket, "queue", clock), Journal(bucket, "queue", clock)
    old.begin([])
    old.append({"run": "a"})
    old.sync()
    old.check()
    new.begin(read_journal(bucket, "queue"))
    clock.now += 10.0
    with pytest.raises(StorageError, match="took over"):
        old.check()
    with pytest.raises(StorageError, match="took over"):
        old.begin(read_journal(bucket, "queue"))
    old.append({"run": "late"})
    old.sync()
    assert list(read_journal(bucket, "queue")) == [{"run": "a"}]
    new.check()


def test_a_long_journal_begins_anew(bucket: str) -> None:
    journal = Journal(bucket, "queue")
    journal.begin([])
    for number in range(LEAST_LINES + 1):
        journal.append({"run": "a", "epoch": number})
    journal.sync()
    assert journal.long
    for _ in range(3):
        journal.begin([{"run": "a", "epoch": LEAST_LINES}])
    assert list(read_journal(bucket, "queue")) == [{"run": "a", "epoch": LEAST_LINES}]
    assert len(open_storage(bucket).list()) == 2, "one older object stays for whoever reads it"
