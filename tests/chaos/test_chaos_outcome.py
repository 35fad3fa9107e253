"""The chaos' own count of repeated epochs: what was merely said twice is none, what was learned twice is one."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from chaos_outcome import repeated_epochs

NOON = 1_700_000_000.0


def said(seconds: float, words: str) -> str:
    """A line of a lane's log."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOON + seconds))
    return f"{moment},000 INFO unictokens {words}\n"


def told(seconds: float, stage: int, epoch: int) -> str:
    """An event that says an epoch's losses."""
    values = {"stage": stage, "epoch": epoch}
    moment = datetime.fromtimestamp(NOON + seconds, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"seq": 0, "time": moment, "event": "metrics", "step": 1, "values": values}) + "\n"


@pytest.mark.parametrize(
    ("goes_on", "epochs", "repeated"),
    [
        ("'bo' continues after warmup, epoch 2", [(0, 2), (1, 1)], 0),
        ("'bo' continues after warmup, epoch 1", [(0, 1), (0, 2)], 1),
        ("", [(0, 2), (1, 1)], 1),
        ("", [(0, 1), (0, 2)], 2),
        ("'bo' continues after warmup, epoch 1", [], 0),
    ],
    ids=["said again", "behind by one", "said again, but learned", "from the start", "killed before it learned"],
)
def test_only_epochs_that_were_learned_again_count(
    tmp_path: Path, goes_on: str, epochs: list[tuple[int, int]], repeated: int
) -> None:
    folder = tmp_path / "runs" / "bo-0123456789ab"
    folder.mkdir(parents=True)
    events = [told(1, 0, 1), told(2, 0, 2), *(told(11 + at, *epoch) for at, epoch in enumerate(epochs))]
    (folder / "events.jsonl").write_text("".join(events))
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "lane-0-aa.log").write_text(said(0, f"run '{folder.name}' begins, attempt 1"))
    second = said(10, f"run '{folder.name}' begins, attempt 2") + (said(10, goes_on) if goes_on else "")
    (logs / "lane-1-bb.log").write_text(second)
    assert repeated_epochs(tmp_path) == {folder.name: repeated}
