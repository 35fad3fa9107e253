"""The journal: what was written is there after any death, a torn line is left out, and there is one writer."""

from pathlib import Path

import pytest

from cluster.journal import LEAST_LINES, Journal, read_journal
from unictokens.errors import StorageError


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path, "queue")) == []
    journal = Journal(tmp_path, "queue")
    journal.begin([{"run": "a"}])
    journal.append({"run": "b", "error": "ä\n"})
    assert list(read_journal(tmp_path, "queue")) == [{"run": "a"}, {"run": "b", "error": "ä\n"}], (
        "not closed, yet there"
    )


def test_a_torn_last_line_is_left_out_wherever_it_tears(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "queue")
    journal.begin([{"run": "a"}])
    journal.append({"run": "b", "state": "running"})
    (path,) = tmp_path.glob("queue-*.jsonl")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        assert list(read_journal(tmp_path, "queue")) == [{"run": "a"}]
    path.write_bytes(b"{" + whole)
    with pytest.raises(StorageError, match="line 1"):
        list(read_journal(tmp_path, "queue"))


def test_a_replaced_writer_notices(tmp_path: Path) -> None:
    old, new = Journal(tmp_path, "queue"), Journal(tmp_path, "queue")
    old.begin([])
    old.append({"run": "a"})
    old.check()
    new.begin(read_journal(tmp_path, "queue"))
    with pytest.raises(StorageError, match="took over"):
        old.check()
    with pytest.raises(StorageError, match="took over"):
        old.begin([])
    old.append({"run": "late"})
    assert list(read_journal(tmp_path, "queue")) == [{"run": "a"}]
    new.check()


def test_a_long_journal_begins_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "queue")
    journal.begin([])
    for number in range(LEAST_LINES + 1):
        assert not journal.long
        journal.append({"run": "a", "epoch": number})
    assert journal.long
    for _ in range(3):
        journal.begin([{"run": "a", "epoch": LEAST_LINES}])
    assert list(read_journal(tmp_path, "queue")) == [{"run": "a", "epoch": LEAST_LINES}]
    assert len(list(tmp_path.iterdir())) == 2, "one older file stays for whoever reads it"
