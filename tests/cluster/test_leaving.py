"""A lane whose node says that it will go (F3): every run is saved after the step under way and handed back, and nothing is repeated."""

from pathlib import Path

import bucket_lane
import pytest
import torch

from cluster import lane, lane_desk
from cluster.folder import JobFolder
from cluster.heart import Heart
from cluster.keeper import Keeper
from cluster.run_status import Ticket
from cluster.snapshot import Watched
from unictokens.concepts.store import ConceptStore
from unictokens.training.session import Progress

LONG = ["stages.warmup.understanding_batch=1"]
"""More than one step in the first epoch."""


class Node:
    """Lets lanes work in this process; their node says that it will go with the `notice_at`-th step, counted from 1."""

    def __init__(self, data: Path, base: Path, settings: list[str]) -> None:
        self.given = (data, base, settings)
        self.steps: list[tuple[str, str, int, int]] = []

    def lane(self, out: Path, name: str, width: int = 1, notice_at: int = 0, more: list[str] | None = None) -> Keeper:
        """Work off what there is; its steps are in `steps` afterwards, that of the number `notice_at` brings the notice."""
        self.steps.clear()
        talking: list[tuple[Keeper, Heart]] = []

        def begins(keeper: Keeper, heart: Heart) -> None:
            heart.stop()  # beats come when the test says so
            talking.append((keeper, heart))
            report = keeper.report

            def counted(ticket: Ticket, progress: Progress) -> None:
                self.steps.append((progress.concept, progress.stage, progress.epoch, progress.step))
                report(ticket, progress)

            keeper.report = counted  # type: ignore[method-assign]

        def told(call: str) -> None:
            if call == "report" and len(self.steps) == notice_at:
                keeper, heart = talking[0]
                keeper.bulletin(0, {"n": 30.0})
                heart.tell()

        data, base, settings = self.given
        return bucket_lane.train(data, base, out, name, settings + (more or []), told, width, begins)


@pytest.fixture
def node(
    toyland: Path,
    tiny_base: Path,
    short_settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Node:
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(1)
    monkeypatch.setattr(lane_desk, "REPORT_SECONDS", 0.0)  # every step is told of
    monkeypatch.setattr(lane_desk, "heard", lane_desk.heard)  # what the lane replaces is put back
    monkeypatch.setattr(lane, "heard", lane.heard)
    monkeypatch.setattr(lane, "_log_to", lambda path: None)
    short = [setting for setting in short_settings if not setting.startswith("preview")]
    return Node(toyland, tiny_base, [*short, "preview.every=0"])


def states(out: Path) -> list[str]:
    return [path.name for path in out.glob("runs/*/checkpoints/*_*.safetensors")]


def test_a_lane_that_hears_of_it_hands_its_run_back_within_the_epoch(node: Node, tmp_path: Path) -> None:
    node.lane(tmp_path / "undisturbed", "lane-0")
    steps = list(node.steps)
    at = next(at for at, step in enumerate(steps, 1) if step[1] == "bootstrap" and step[2:] == (2, 1))
    out = tmp_path / "out"
    left = node.lane(out, "lane-1", notice_at=at)
    assert node.steps == steps[:at], "not one step more"
    assert {status.state for status in left.statuses()} == {"waiting"}, "the other run was not taken any more"
    assert all(status.strikes == 0 for status in left.statuses())
    assert states(out) == ["1-bootstrap-0001_0001.safetensors"]
    node.lane(out, "lane-2")
    assert node.steps == steps[at:], "the next lane goes on with the next step"
    assert Watched(JobFolder(out, "job-1")).look().state == "finished" and not states(out)
    assert lasting(out) == lasting(tmp_path / "undisturbed")


def test_every_run_of_the_pack_is_saved_after_the_same_step(node: Node, tmp_path: Path) -> None:
    left = node.lane(tmp_path, "lane-1", width=2, notice_at=1, more=LONG)
    assert sorted(node.steps) == [(name, "warmup", 1, 1) for name in bucket_lane.CONCEPTS]
    assert {status.state for status in left.statuses()} == {"waiting"}
    assert states(tmp_path) == ["0-warmup-0000_0001.safetensors"] * 2
    node.lane(tmp_path, "lane-2", width=2, more=LONG)
    first_epoch = sorted(step for step in node.steps if step[1:3] == ("warmup", 1))
    assert first_epoch == [(name, "warmup", 1, step) for name in bucket_lane.CONCEPTS for step in (2, 3, 4)]
    assert {status.state for status in Watched(JobFolder(tmp_path, "job-1")).look().runs} == {"finished"}
    assert {name: len(ConceptStore(tmp_path / "store").versions(name)) for name in bucket_lane.CONCEPTS} == {
        "bo": 1,
        "tavo": 1,
    }


def lasting(out: Path) -> dict[str, bytes]:
    """Bytes of what must be the same however often a job was broken off: checkpoints, and published rows without their date."""
    kept = {str(path.relative_to(out)): path.read_bytes() for path in out.glob("runs/*/checkpoints/*")}
    store = ConceptStore(out / "store")
    rows = {f"{name} {at}": part for name in store.names() for at, part in enumerate(store.get(name).tokens.tensors())}
    return kept | {name: part.numpy().tobytes() for name, part in rows.items()}
