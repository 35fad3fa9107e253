"""The state of a run behind a URL: complete at every request, continued on another machine to the same bytes."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from places import FaultyFileSystem

from unictokens.backbones.showo.backbone import ShowO
from unictokens.config import PRESETS, RunConfig, override, parse_settings
from unictokens.data.catalog import Catalog
from unictokens.errors import StorageError
from unictokens.learn import Learned, Learning, learn_concept, plan_run
from unictokens.output import Output
from unictokens.storage.base import Place, open_storage
from unictokens.storage.workspace import MirroredWorkspace
from unictokens.tracking.jsonl import JsonlTracker
from unictokens.training.checkpoint import Checkpoint, Cursor, Identity, load_newest, save_checkpoint
from unictokens.training.engine import LocalEngine
from unictokens.training.history import EpochRecord, History
from unictokens.training.losses import StepLosses
from unictokens.training.session import Alone, Progress, Session

Learn = Callable[..., Learned]
URL = "faulty://bucket/out"
MINE = Identity("bo", "config", "data", "weights")


class StopAfter:
    """A host that stops a run after some epochs, or has to go itself after some steps that ended none."""

    def __init__(self, epochs: int, steps: int = 1_000_000) -> None:
        self.left = epochs
        self.steps = steps

    def report(self, progress: Progress) -> None:
        return None

    def should_leave(self) -> bool:
        self.steps -= 1
        return self.steps <= 0

    def should_stop(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.fixture
def config(short_settings: list[str]) -> RunConfig:
    return override(PRESETS["demo"], parse_settings([*short_settings, "preview.every=0"]))


@pytest.fixture
def learn(tiny_backbone: ShowO, toyland: Path, config: RunConfig) -> Iterator[Learn]:
    """Learn `bo` into an output, as a host does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    record = Catalog.open(toyland).concept("bo")
    plan = plan_run(record, config)

    def run(place: Place, session: Session | None = None) -> Learned:
        output = Output(place)
        workspace = output.open_run(plan.name)
        return learn_concept(
            LocalEngine(tiny_backbone),
            record,
            plan,
            output,
            tracker=JsonlTracker(workspace.folder),
            session=session or Alone(),
            workspace=workspace,
        )

    yield run
    torch.set_num_threads(threads)


def lasting(place: Place) -> dict[str, bytes]:
    """Bytes of what must be the same however often a run was broken off: bundles and checkpoints."""
    storage = open_storage(place)
    names = [name for name in storage.list() if name.endswith(".safetensors")]
    return {name: storage.read(name) or b"" for name in names}


def test_resume_behind_a_url_gives_same_bytes(
    faulty: type[FaultyFileSystem], learn: Learn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert learn(tmp_path).version == 1
    whole = lasting(tmp_path)
    assert learn(URL, StopAfter(1)).status == "stopped"
    assert learn(URL, StopAfter(2)).status == "stopped"
    assert learn(URL, StopAfter(99, steps=2)).status == "stopped"
    assert [name for name in lasting(URL) if "_" in name.rpartition("/")[2]], "its state within an epoch is there"
    # The machine goes away in the middle of a push; another one goes on.
    faulty.requests.clear()
    faulty.fail_at = 12
    with pytest.raises(StorageError):
        learn(URL)
    faulty.heal()
    with caplog.at_level(logging.INFO, logger="unictokens"):  # commands set a level of their own
        learned = learn(URL)
    assert "continues after" in caplog.text and learned.version == 1
    assert lasting(URL) == whole
    (history,) = [name for name in open_storage(URL).list("runs") if name.endswith("history.jsonl")]
    mine, theirs = (History(Path(tmp_path, history)), History(tmp_path / "copy.jsonl"))
    (tmp_path / "copy.jsonl").write_bytes(open_storage(URL).read(history) or b"")
    for each in (mine, theirs):
        each.reopen(Cursor(9, "", 0))
    assert [replace(each, seconds=0) for each in theirs.records] == [replace(each, seconds=0) for each in mine.records]
    assert learn(URL).version == 1  # again: nothing to learn, nothing published twice
    assert open_storage(URL).list("store/bo") == ("store/bo/v0001/card.json", "store/bo/v0001/tokens.safetensors")


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_run_in_a_bucket_ends_as_one_in_a_folder(
    kind: str, request: pytest.FixtureRequest, learn: Learn, tmp_path: Path
) -> None:
    place = f"{request.getfixturevalue(kind)}/{tmp_path.name}"
    assert learn(place, StopAfter(3)).status == "stopped"
    assert learn(place).version == 1
    learn(tmp_path)
    assert lasting(place) == lasting(tmp_path)
    kept = [{name for name in open_storage(each).list("runs")} for each in (place, tmp_path)]
    assert kept[0] == kept[1]


def epoch(workspace: MirroredWorkspace, number: int) -> None:
    """Do to a run's folder what an epoch does."""
    history = History(workspace.folder / "history.jsonl")
    cursor = Cursor(0, "warmup", number)
    history.reopen(cursor)
    history.add(EpochRecord(number=0, stage="warmup", epoch=number, steps=1, losses={"total": 1.0}, seconds=0.0))
    tensors = {"rows.embed": torch.full((2, 3), float(number))}
    save_checkpoint(workspace.folder / "checkpoints", MINE, Checkpoint(cursor, tensors), frozenset())


def opened(tmp_path: Path) -> MirroredWorkspace:
    """The run on one more machine."""
    folder = tmp_path / f"machine-{len(list(tmp_path.iterdir()))}"
    return MirroredWorkspace(folder, open_storage(URL), "runs/bo-1")


def leave(workspace: MirroredWorkspace, number: int) -> None:
    """Do to a run's folder what is done where it leaves a step after its epoch `number`."""
    state = Checkpoint(Cursor(0, "warmup", number, 1), {"rows.embed": torch.zeros(2, 3)}, (StepLosses(1.0, None, 1.0),))
    save_checkpoint(workspace.folder / "checkpoints", MINE, state, frozenset())


@pytest.mark.parametrize("within", [False, True], ids=["after an epoch", "within one"])
@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
def test_whatever_request_fails_the_run_goes_on_from_before_or_after(
    faulty: type[FaultyFileSystem], tmp_path: Path, lost: bool, within: bool
) -> None:
    def lived() -> MirroredWorkspace:
        faulty.store.clear()
        workspace = opened(tmp_path)
        for number in (1, 2, 3):
            epoch(workspace, number)
            workspace.push()
        if within:
            leave(workspace, 3)
            workspace.push()
        epoch(workspace, 4)
        return workspace

    workspace = lived()
    faulty.requests.clear()
    workspace.push()
    requests = len(faulty.requests)
    assert faulty.requests == ["put", "put", "remove", *(["remove"] if within else [])]
    for number in range(1, requests + 1):
        workspace = lived()
        faulty.requests.clear()
        faulty.fail_at, faulty.lost = number, lost
        with pytest.raises(StorageError, match="faulty://bucket/out/runs/bo-1"):
            workspace.push()
        faulty.heal()
        other = opened(tmp_path)
        found = load_newest(other.folder / "checkpoints", MINE)
        assert found is not None and found.cursor in (Cursor(0, "warmup", 3, int(within)), Cursor(0, "warmup", 4))
        history = History(other.folder / "history.jsonl")
        history.reopen(found.cursor)
        assert [record.epoch for record in history.records] == list(range(1, found.cursor.epoch + 1))
        # The push that failed can be made good, too.
        workspace.push()
        assert load_newest(opened(tmp_path).folder / "checkpoints", MINE).cursor.epoch == 4  # type: ignore[union-attr]


def test_a_damaged_checkpoint_in_the_bucket_is_set_aside_there(
    faulty: type[FaultyFileSystem], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = opened(tmp_path)
    for number in (1, 2):
        epoch(workspace, number)
        workspace.push()
    storage = open_storage(URL)
    newest = "runs/bo-1/checkpoints/0-warmup-0002.safetensors"
    data = bytearray(storage.read(newest) or b"")
    data[-1] ^= 1
    storage.write(newest, bytes(data))
    other = opened(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = load_newest(other.folder / "checkpoints", MINE)
    assert found is not None and found.cursor.epoch == 1 and "0-warmup-0002" in caplog.text
    other.push()
    names = [name.rpartition("/")[2] for name in storage.list("runs/bo-1/checkpoints")]
    assert names == ["0-warmup-0001.safetensors", "damaged-0-warmup-0002.safetensors"]


def test_pictures_are_kept_but_not_fetched(faulty: type[FaultyFileSystem], tmp_path: Path) -> None:
    workspace = opened(tmp_path)
    (workspace.folder / "previews").mkdir(parents=True)
    (workspace.folder / "previews" / "warmup_0001_0.png").write_bytes(b"picture")
    (workspace.folder / ".half.tmp").write_bytes(b"half")
    epoch(workspace, 1)
    workspace.push()
    workspace.drop()
    assert not workspace.folder.exists()
    other = opened(tmp_path)
    assert not (other.folder / "previews").exists()
    epoch(other, 2)
    other.push()
    kept = open_storage(URL).list("runs/bo-1")
    assert "runs/bo-1/previews/warmup_0001_0.png" in kept and not any(".half" in name for name in kept)
    faulty.requests.clear()
    other.push()
    assert faulty.requests == []  # what has not changed is not sent again


def test_a_run_that_was_taken_away_writes_no_more(
    faulty: type[FaultyFileSystem], tiny_backbone: ShowO, toyland: Path, config: RunConfig
) -> None:
    record, output = Catalog.open(toyland).concept("bo"), Output(URL)
    plan = plan_run(record, config)
    workspace = output.open_run(plan.name)
    tracker = JsonlTracker(workspace.folder)
    learning = Learning(
        LocalEngine(tiny_backbone), record, plan, output, tracker=tracker, session=Alone(), workspace=workspace
    )
    learning.leave()
    assert "put" not in faulty.requests and not workspace.folder.exists()
