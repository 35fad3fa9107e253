"""A lane whose output is a bucket: it is killed, another machine goes on with nothing but the bucket, to the same bytes."""

import signal
import subprocess
import sys
from pathlib import Path

import bucket_lane
import pytest

from cluster.folder import JobFolder
from cluster.logs import LogReader
from cluster.snapshot import Watched
from unictokens.concepts.store import ConceptStore
from unictokens.output import Output
from unictokens.storage.base import Place, open_storage


def lasting(place: Place) -> dict[str, bytes]:
    """Bytes of what must be the same however often a job was broken off: checkpoints, and published rows without their date."""
    storage, store = open_storage(place), Output(place).store
    kept = {name: storage.read(name) or b"" for name in storage.list() if "/checkpoints/" in name}
    for concept in bucket_lane.CONCEPTS:
        for number, rows in enumerate(store.get(concept).tokens.tensors()):
            kept[f"{concept} {number}"] = rows.numpy().tobytes()
    return kept


@pytest.mark.slow
def test_a_killed_lane_is_continued_by_a_machine_that_has_only_the_bucket(
    s3: str, toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path: Path
) -> None:
    def lane(out: Place, name: str, kill_at: int) -> int:
        given = [str(toyland), str(tiny_base), str(out), name, str(kill_at), *short_settings]
        process = subprocess.run([sys.executable, bucket_lane.__file__, *given], capture_output=True, text=True)
        assert process.returncode in (0, -signal.SIGKILL), process.stderr
        return process.returncode

    out = f"{s3}/{tmp_path.name}"
    assert lane(out, "lane-a", kill_at=5) == -signal.SIGKILL
    folder = JobFolder(out, "job-1")
    killed = Watched(folder).look()
    assert killed.state == "interrupted" and killed.counts == {"running": 1, "waiting": 1}
    assert ConceptStore(f"{out}/store").names() == ()
    assert lane(out, "lane-b", kill_at=0) == 0
    over = Watched(folder).look()
    assert over.state == "finished" and {run.lane for run in over.runs} == {"lane-b"}
    assert {name: len(ConceptStore(f"{out}/store").versions(name)) for name in bucket_lane.CONCEPTS} == {
        "bo": 1,
        "tavo": 1,
    }
    reader = LogReader(folder, "lane-b")
    reader.choose(over)
    assert "continues after" in " ".join(reader.read())

    assert lane(tmp_path, "lane-c", kill_at=0) == 0
    assert lasting(out) == lasting(tmp_path) and len(lasting(out)) > 10
    in_bucket, on_disk = ({name for name in open_storage(place).list("runs")} for place in (out, tmp_path))
    assert {name for name in in_bucket if "lane-" not in name} == {name for name in on_disk if "lane-" not in name}
    assert not Output(out).local.exists(), "watching leaves nothing on this machine"
