"""Plans: stable names, nothing trained twice, one broken concept beside healthy ones."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import unictokens.output as output_module
from cluster import digests as digests_module
from cluster import plan as plan_module
from cluster.digests import Digest
from cluster.plan import expected_fingerprint, plan_job, plan_runs
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard, Provenance
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import PRESETS, override
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError
from unictokens.learn import Output, RunPlan
from unictokens.training.session import Progress

DEMO = PRESETS["demo"]


def test_names_follow_from_settings_and_data_alone(toyland: Path, tmp_path: Path) -> None:
    catalog, output = Catalog.open(toyland), Output(tmp_path)
    plan = plan_job(catalog, ("bo", "miru"), DEMO, output, resume=False)
    moved = tmp_path / "moved"
    shutil.copytree(toyland, moved)
    same = plan_job(Catalog.open(moved), ("miru", "bo"), DEMO, Output(tmp_path / "elsewhere"), resume=False)
    assert {run.name for run in same.runs} == {run.name for run in plan.runs} and same.name == plan.name
    other = plan_job(catalog, ("bo", "miru"), override(DEMO, {"seed": 1}), output, resume=False)
    assert not {run.name for run in other.runs} & {run.name for run in plan.runs}
    shown = plan_job(catalog, ("bo", "miru"), override(DEMO, {"preview.every": 0}), output, resume=False)
    assert shown.name == plan.name, "previews decide nothing"
    info = moved / "concept/train/bo/info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "info": "<bo> is blue."}))
    changed = plan_job(Catalog.open(moved), ("bo", "miru"), DEMO, output, resume=False)
    assert [run.name == before.name for run, before in zip(changed.runs, plan.runs, strict=True)] == [False, True]


def test_a_broken_concept_is_refused_alone(toyland: Path, tmp_path: Path) -> None:
    shutil.copytree(toyland, tmp_path / "data")
    (tmp_path / "data/concept/train/miru/info.json").write_text("{")
    catalog = Catalog.open(tmp_path / "data")
    plan = plan_job(catalog, catalog.names, DEMO, Output(tmp_path), resume=False)
    assert [run.concept for run in plan.runs] == ["bo", "tavo"]
    (refusal,) = plan.refused
    assert refusal.concept == "miru" and "info.json" in refusal.reason


def test_an_unfinished_job_needs_resume(toyland: Path, tmp_path: Path) -> None:
    catalog, output = Catalog.open(toyland), Output(tmp_path)
    (run,) = plan_job(catalog, ("bo",), DEMO, output, resume=False).runs
    checkpoints = output.run_folder(run.name) / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "0-warmup-0001.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="--resume"):
        plan_job(catalog, ("bo",), DEMO, output, resume=False)
    assert plan_job(catalog, ("bo",), DEMO, output, resume=True).runs == (run,)


@pytest.mark.parametrize("asked", [64, 0], ids=["one by one", "in one listing"])
@pytest.mark.parametrize("bucket", [False, True], ids=["folder", "bucket"])
def test_what_was_done_before_is_found(
    toyland: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: bool, asked: int
) -> None:
    output = Output(f"memory://{uuid.uuid4().hex}" if bucket else tmp_path / "out")
    catalog = Catalog.open(toyland)
    bo, miru, tavo = plan_job(catalog, catalog.names, DEMO, output, resume=False).runs
    monkeypatch.setattr(output_module, "ASKED", asked)
    assert plan_job(catalog, catalog.names, DEMO, output, resume=False).runs == (bo, miru, tavo)
    assert output.store.publish(_bundle(bo)) == 1
    output.storage.write(f"runs/{miru.name}/checkpoints/0-warmup-0001.safetensors", b"")
    output.storage.write(f"runs/{tavo.name}/history.jsonl", b"")
    with pytest.raises(ConfigError, match="unfinished runs of miru: "):
        plan_job(catalog, catalog.names, DEMO, output, resume=False)
    plan = plan_job(catalog, catalog.names, DEMO, output, resume=True)
    assert plan.runs == (miru, tavo) and [skip.plan for skip in plan.skipped] == [bo]


def _bundle(run: RunPlan) -> ConceptBundle:
    """What the run would publish: rows of nothing, under its settings and data."""
    layout, rows = TokenLayout(shared=1, generation=1, understanding=1), torch.zeros(4, 8)
    stamp = BackboneStamp(name="mini", width=8, vocabulary=10, fingerprint=expected_fingerprint("mini"))
    made = Provenance(config_hash=run.config_hash, dataset_digest=run.dataset_digest)
    card = ConceptCard(name=run.concept, class_word="thing", layout=layout, backbone=stamp, provenance=made)
    return ConceptBundle(ConceptTokens(layout, rows, rows.clone(), torch.zeros(4)), card)


def test_progress_counts_epochs_of_all_stages(toyland: Path, tmp_path: Path) -> None:
    four = override(DEMO, {f"stages.{stage}.epochs": 4 for stage in ("warmup", "bootstrap", "deepen")})
    (run,) = plan_job(Catalog.open(toyland), ("bo",), four, Output(tmp_path), resume=False).runs
    assert run.stages == (("warmup", 4), ("bootstrap", 4), ("deepen", 4))
    place = {"concept": "bo", "epochs": 4, "steps": 10}
    assert run.done(Progress(stage="warmup", epoch=1, step=0, **place)) == 0.0
    assert run.done(Progress(stage="bootstrap", epoch=3, step=5, **place)) == pytest.approx(6.5 / 12)
    assert run.done(Progress(stage="deepen", epoch=4, step=10, **place)) == 1.0


def test_runs_that_begin_alike_learn_that_once(toyland: Path, tmp_path: Path) -> None:
    catalog, output = Catalog.open(toyland), Output(tmp_path)
    random = override(DEMO, {"stages.deepen.initial": {"understanding": "random"}})
    inverted = override(DEMO, {"method": "textual_inversion"})
    wanted = [(name, config) for config in (DEMO, random, DEMO, inverted) for name in ("bo", "miru")]
    plan = plan_runs(catalog, wanted, output, resume=False)
    assert len(plan.runs) == 6 and plan.concepts == ("bo", "miru")
    names = {
        (run.concept, run.config.method, run.config.stages.deepen.initial["understanding"]): run for run in plan.runs
    }
    child, parent = names["bo", "unictokens", "random"], names["bo", "unictokens", "perception"]
    assert child.branch is not None and (child.branch.run, child.branch.stages) == (parent.name, 2)
    assert [run.branch for run in plan.runs if run not in (child, names["miru", "unictokens", "random"])] == [None] * 4
    (alone,) = plan_runs(catalog, [("bo", random)], output, resume=False).runs
    assert alone.branch is None and alone.name == child.name, "where a run begins decides nothing"


def test_a_backbone_folder_tells_its_fingerprint_without_loading(tiny_base: Path) -> None:
    said = json.loads((tiny_base / "config.json").read_text())["fingerprint"]
    assert said and expected_fingerprint(str(tiny_base)) == said
    assert len(expected_fingerprint("mini")) == len(said)
    assert expected_fingerprint("showlab/show-o-512x512") == ""


def test_many_processes_find_what_one_finds(toyland: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(toyland, tmp_path / "data")
    (tmp_path / "data/concept/train/miru/info.json").write_text("{")
    catalog = Catalog.open(tmp_path / "data")
    monkeypatch.setattr(digests_module, "MANY", 2)
    monkeypatch.setattr(digests_module, "CHUNK", 1)
    found = [list(digests_module.digests(catalog, catalog.names, processes)) for processes in (1, 2)]
    assert found[0] == found[1] and [one.concept for one in found[0]] == list(catalog.names)
    assert [bool(one.refusal) for one in found[0]] == [name == "miru" for name in catalog.names]


def test_settings_that_nobody_can_follow_are_told_before_all_data_are_read(
    toyland: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, read = Catalog.open(toyland), []

    def counted(*asked: Any) -> Iterator[Digest]:
        for found in digests_module.digests(*asked):
            read.append(found.concept)
            yield found

    monkeypatch.setattr(plan_module, "digests", counted)
    with pytest.raises(ConfigError, match="start_epoch"):
        plan_job(catalog, catalog.names, override(DEMO, {"stages.deepen.start_epoch": 99}), Output(tmp_path), False)
    assert read == ["bo"]


def test_a_picture_that_concepts_share_is_read_once(toyland: Path) -> None:
    catalog, shared = Catalog.open(toyland), {}
    digests = [catalog.digest(name, shared) for name in catalog.names]
    others = {*catalog.folder.places("random_images"), "black_512x512.png"}
    assert shared and set(shared) <= others and digests == [catalog.concept(name).digest() for name in catalog.names]
    shared |= dict.fromkeys(shared, "0" * 64)
    assert catalog.digest("bo", shared) == catalog.concept("bo").digest(shared) != digests[0]
