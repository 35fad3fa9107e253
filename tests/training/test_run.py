"""Runs: seeded, resumable to the byte, changing only what a stage trains, leaving the backbone alone."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.bundle import load_bundle
from unictokens.config import PRESETS, RunConfig, override
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError, DependencyError, StorageError, TrainingError
from unictokens.tracking.base import Trackers
from unictokens.training.bundles import bundle_after
from unictokens.training.checkpoint import Cursor, cursors
from unictokens.training.engine import LocalEngine
from unictokens.training.pack import train_run
from unictokens.training.run import BUNDLE_FILE, RunResult
from unictokens.training.session import Progress

Train = Callable[..., RunResult]


At = tuple[str, int, int]


def place(progress: Progress) -> At:
    return progress.stage, progress.epoch, progress.step


class StopAfter:
    """A host that stops a run after some epochs, breaks it off in the middle of one, or has to go itself after some step."""

    def __init__(self, epochs: int, break_at: At | None = None, leave_at: At | None = None) -> None:
        self.left = epochs
        self.break_at = break_at
        self.leave_at = leave_at
        self.seen: list[Progress] = []

    def report(self, progress: Progress) -> None:
        self.seen.append(progress)
        if place(progress) == self.break_at:
            raise KeyboardInterrupt

    def should_leave(self) -> bool:
        return place(self.seen[-1]) == self.leave_at

    def should_stop(self) -> bool:
        self.left -= 1
        return self.left <= 0


def weights_hash(backbone: ShowO) -> str:
    digest = hashlib.sha256()
    for module in (backbone.language_model, backbone.magvit):
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def rows_at(folder: Path, file: str) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / file)


def test_three_stages_end_in_a_bundle_and_a_history(train: Train, tmp_path: Path) -> None:
    result = train(tmp_path)
    assert result.finished and result.bundle is not None
    assert result.bundle.tokens.rows == 8
    assert (result.stage, result.epoch) == ("deepen", 2)
    reloaded = load_bundle(tmp_path / BUNDLE_FILE)
    assert torch.equal(reloaded.tokens.embed_KD, result.bundle.tokens.embed_KD)
    assert reloaded.card.provenance.stage == "deepen"
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in lines] == [
        (stage, epoch) for stage in ("warmup", "bootstrap", "deepen") for epoch in (1, 2)
    ]
    assert set(lines[0]["losses"]) == {"understanding", "total"}
    assert set(lines[-1]["losses"]) == {"understanding", "generation", "total"}


def test_same_seed_gives_same_bytes_and_another_seed_does_not(train: Train, tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        train(tmp_path / name, seed=seed)
    files = {name: (tmp_path / name / BUNDLE_FILE).read_bytes() for name in ("first", "again", "other")}
    assert files["first"] == files["again"]
    assert files["first"] != files["other"]


@pytest.mark.parametrize("epochs", [1, 2, 3, 5])
def test_resume_gives_same_bytes(train: Train, tmp_path: Path, epochs: int) -> None:
    train(tmp_path / "whole")
    stopped = train(tmp_path / "parts", StopAfter(epochs))
    assert not stopped.finished
    train(tmp_path / "parts")
    assert (tmp_path / "parts" / BUNDLE_FILE).read_bytes() == (tmp_path / "whole" / BUNDLE_FILE).read_bytes()
    last = "2-deepen-0002.safetensors"
    assert (tmp_path / "parts/checkpoints" / last).read_bytes() == (tmp_path / "whole/checkpoints" / last).read_bytes()
    assert len((tmp_path / "parts" / "history.jsonl").read_text().splitlines()) == 6


def test_run_broken_off_inside_an_epoch_repeats_only_that_epoch(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", StopAfter(99, ("bootstrap", 2, 1)))
    host = StopAfter(99)
    train(tmp_path / "parts", host)
    assert (host.seen[0].stage, host.seen[0].epoch, host.seen[0].step) == ("bootstrap", 2, 1)
    assert (tmp_path / "parts" / BUNDLE_FILE).read_bytes() == (tmp_path / "whole" / BUNDLE_FILE).read_bytes()


class LeaveAlways(StopAfter):
    """A host that has to go after every step."""

    def should_leave(self) -> bool:
        return True

    def should_stop(self) -> bool:
        return True


SHORT_STEPS = {f"stages__{stage}__understanding_batch": 1 for stage in ("warmup", "bootstrap", "deepen")}
AVERAGED = {f"stages__{stage}__average": 1.0 for stage in ("warmup", "bootstrap", "deepen")}


def written(folder: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """What a run left: its states and its bundle by name, and its history without the seconds."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.safetensors")}
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return files, [{**record, "seconds": 0.0} for record in records]


@pytest.mark.parametrize("changed", [SHORT_STEPS, SHORT_STEPS | AVERAGED], ids=["plain", "averaged"])
def test_run_that_left_within_an_epoch_goes_on_with_the_next_step(
    train: Train, tmp_path: Path, changed: dict[str, object]
) -> None:
    train(tmp_path / "whole", **changed)
    whole = written(tmp_path / "whole")
    for number, (stage, epoch, step) in enumerate((("warmup", 1, 2), ("bootstrap", 2, 1), ("deepen", 2, 1))):
        parts = tmp_path / stage
        left = train(parts, StopAfter(99, leave_at=(stage, epoch, step)), **changed)
        assert not left.finished and (left.stage, left.epoch) == (stage, epoch - 1) and left.seconds > 0
        assert cursors(parts / "checkpoints")[-1] == Cursor(number, stage, epoch - 1, step)
        host = StopAfter(99)
        assert train(parts, host, **changed).seconds > left.seconds
        assert place(host.seen[0]) == (stage, epoch, step + 1)
        assert written(parts) == whole


def test_run_whose_hosts_leave_after_every_step_ends_alike(train: Train, tmp_path: Path) -> None:
    changed = {**SHORT_STEPS, **AVERAGED}
    undisturbed = StopAfter(99)
    train(tmp_path / "whole", undisturbed, **changed)
    seen: list[At] = []
    while True:
        host = LeaveAlways(0)
        finished = train(tmp_path / "parts", host, **changed).finished
        seen += map(place, host.seen)
        assert len(host.seen) == 1
        if finished:
            break
    assert seen == [place(progress) for progress in undisturbed.seen]
    assert written(tmp_path / "parts") == written(tmp_path / "whole")


def test_damaged_state_within_an_epoch_costs_what_was_done_of_that_epoch(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "parts", StopAfter(99, leave_at=("bootstrap", 2, 2)))
    (tmp_path / "parts/checkpoints/1-bootstrap-0001_0002.safetensors").write_bytes(b"half a file")
    host = StopAfter(99)
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "parts", host)
    assert "set aside" in caplog.text and place(host.seen[0]) == ("bootstrap", 2, 1)
    damaged = tmp_path / "parts/checkpoints/damaged-1-bootstrap-0001_0002.safetensors"
    damaged.unlink()
    assert written(tmp_path / "parts") == written(tmp_path / "whole")


def test_damaged_newest_checkpoint_costs_one_epoch(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "parts", StopAfter(2))
    (tmp_path / "parts/checkpoints/0-warmup-0002.safetensors").write_bytes(b"half a file")
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "parts")
    assert "set aside" in caplog.text
    assert (tmp_path / "parts" / BUNDLE_FILE).read_bytes() == (tmp_path / "whole" / BUNDLE_FILE).read_bytes()


def test_finished_run_is_returned_without_training(train: Train, tmp_path: Path) -> None:
    first = train(tmp_path)
    host = StopAfter(99)
    again = train(tmp_path, host)
    assert not host.seen and again.finished and first.bundle is not None and again.bundle is not None
    assert torch.equal(first.bundle.tokens.embed_KD, again.bundle.tokens.embed_KD)


def test_folder_of_another_configuration_is_refused(train: Train, tmp_path: Path) -> None:
    train(tmp_path, StopAfter(1))
    with pytest.raises(TrainingError, match="another config_hash"):
        train(tmp_path, seed=5)


def test_backbone_is_untouched(train: Train, tmp_path: Path, tiny_backbone: ShowO) -> None:
    before = weights_hash(tiny_backbone)
    train(tmp_path)
    assert weights_hash(tiny_backbone) == before
    parameters = [*tiny_backbone.language_model.parameters(), *tiny_backbone.magvit.parameters()]
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in parameters)


def test_only_the_stage_s_groups_change(train: Train, tmp_path: Path) -> None:
    train(tmp_path)
    start, end = rows_at(tmp_path, "1-bootstrap-0002.safetensors"), rows_at(tmp_path, "2-deepen-0002.safetensors")
    for part in ("embed", "head", "bias"):
        old, new = start[f"rows.{part}"], end[f"rows.{part}"]
        assert torch.equal(new[1:6], old[1:6]), "shared and generation rows do not learn in the last stage"
        assert not torch.equal(new[0], old[0])
    assert end["rows.embed"].shape[0] == 8 and start["rows.embed"].shape[0] == 6


def test_stage_continues_from_the_epoch_it_names(train: Train, tmp_path: Path) -> None:
    train(tmp_path, stages__bootstrap__start_epoch=1, stages__bootstrap__optim__lr=1e-30)
    early = rows_at(tmp_path, "0-warmup-0001.safetensors")["rows.embed"]
    carried = rows_at(tmp_path, "1-bootstrap-0002.safetensors")["rows.embed"]
    assert torch.equal(carried[:4], early)


def test_start_epoch_beyond_the_stage_before_is_refused(train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start_epoch"):
        train(tmp_path, stages__bootstrap__start_epoch=9)


@pytest.mark.parametrize("epochs", [1, 5])
def test_stage_that_averages_ends_alike_however_often_it_was_stopped(train: Train, tmp_path: Path, epochs: int) -> None:
    last = "2-deepen-0002.safetensors"
    for name, host in (("whole", None), ("parts", StopAfter(epochs)), ("parts", None)):
        train(tmp_path / name, host, stages__deepen__average=1.0)
    whole = (tmp_path / "whole/checkpoints" / last).read_bytes()
    assert (tmp_path / "parts/checkpoints" / last).read_bytes() == whole
    train(tmp_path / "plain", stages__deepen__average=0.4)  # of two epochs none
    plain, averaged = rows_at(tmp_path / "plain", last), rows_at(tmp_path / "whole", last)
    assert not torch.equal(plain["rows.embed"], averaged["rows.embed"])
    assert torch.equal(plain["rows.embed"][1:6], averaged["rows.embed"][1:6]), (
        "what the stage does not train is no mean"
    )
    assert set(plain) == set(averaged), "the mean is the rows by then"


def test_only_the_last_checkpoints_stage_ends_and_the_best_epoch_stay(
    train: Train, tmp_path: Path, bo: ConceptRecord, short_config: RunConfig, tiny_backbone: ShowO
) -> None:
    train(tmp_path, stages__deepen__epochs=5)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    best = min((line["losses"]["total"], line["epoch"]) for line in lines if line["stage"] == "deepen")[1]
    kept = [(cursor.stage, cursor.epoch) for cursor in cursors(tmp_path / "checkpoints")]
    assert kept == [("warmup", 2), ("bootstrap", 2), *(("deepen", epoch) for epoch in sorted({best, 4, 5}))]
    config = override(short_config, {"stages.deepen.epochs": 5})
    bundle = bundle_after(tmp_path, bo, config, tiny_backbone.info, "deepen", best)
    assert bundle.card.provenance.epoch == best
    with pytest.raises(StorageError, match="deepen-0009"):
        bundle_after(tmp_path, bo, config, tiny_backbone.info, "deepen", 9)


def test_loss_that_is_not_finite_names_stage_epoch_and_step(train: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"'bo': loss is not finite in stage 'warmup', epoch \d, step 1"):
        train(tmp_path, stages__warmup__optim__lr=1e30)


def test_textual_inversion_has_one_stage(train: Train, tmp_path: Path) -> None:
    result = train(tmp_path, method="textual_inversion")
    assert result.bundle is not None and result.bundle.tokens.rows == 6
    assert {line["stage"] for line in map(json.loads, (tmp_path / "history.jsonl").read_text().splitlines())} == {
        "bootstrap"
    }


def test_unknown_method_is_refused(train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown method 'magic'"):
        train(tmp_path, method="magic")


def run_ann(catalog: Catalog, engine: LocalEngine, folder: Path, config: RunConfig) -> RunResult:
    return train_run(engine, catalog.concept("ann"), config, folder, tracker=Trackers(()))


def test_person_without_face_model_is_told_where_it_belongs(
    small_catalog: Catalog, engine: LocalEngine, short_config: RunConfig, tmp_path: Path
) -> None:
    with pytest.raises(DependencyError, match=r"antelopev2.*initial_person.generation=kmeans_images"):
        run_ann(small_catalog, engine, tmp_path, short_config)


def test_person_starts_from_photos_where_the_settings_say_so(
    small_catalog: Catalog, engine: LocalEngine, short_settings: dict[str, Any], tmp_path: Path
) -> None:
    short = {path: value for path, value in short_settings.items() if not path.startswith("perception")}
    config = override(PRESETS["demo"], {**short, "perception.images": 2})
    assert run_ann(small_catalog, engine, tmp_path, config).finished


def test_previews_are_kept_and_their_failure_is_survived(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bo: ConceptRecord
) -> None:
    quick = {"steps": 2, "guidance": 1.0, "temperature": 1.0}
    train(tmp_path / "good", preview__every=2, preview__sampling=quick)
    assert (tmp_path / "good/previews/warmup_0002_1.png").exists()
    assert (tmp_path / "good/perception/deepen_01_final.png").exists()
    answers = [json.loads(line) for line in (tmp_path / "good/answers.jsonl").read_text().splitlines()]
    assert len(answers) == 9 and {"stage", "epoch", "question", "photo", "answer"} == set(answers[0])

    def broken(*_: object) -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setattr(ShowO, "answer", broken)
    assert train(tmp_path / "bad", preview__every=2, preview__sampling=quick).finished
    assert "no memory left" in (tmp_path / "bad/answers.jsonl").read_text()
    assert (tmp_path / "bad" / BUNDLE_FILE).read_bytes()
