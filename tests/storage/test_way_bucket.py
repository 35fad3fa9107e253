"""The way of a concept through the command line when everything that lasts is in a bucket."""

from pathlib import Path

import pytest

from unictokens.cli.main import main
from unictokens.concepts.store import ConceptStore
from unictokens.storage.base import open_storage


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_concept_is_learned_listed_asked_named_and_deleted_in_a_bucket(
    kind: str,
    request: pytest.FixtureRequest,
    toyland: Path,
    tiny_base: Path,
    short_settings: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    out = f"{request.getfixturevalue(kind)}/{tmp_path.name}"
    train = ["train", "--data", str(toyland), "--concept", "bo", "--out", out, "--config", "demo", "--device", "cpu"]
    train += ["--backbone", str(tiny_base), "--set", *short_settings]
    assert main([*train, "stages.deepen.optim.lr=1e30"]) == 2  # it ends by itself in the last stage
    capsys.readouterr()
    assert main([*train, "stages.deepen.optim.lr=1e30"]) == 2
    refused = capsys.readouterr().err
    assert "--resume" in refused and f"'{out}/runs/bo-" in refused
    assert main(train) == 0
    assert f"published bo@v1 in {out}/store" in capsys.readouterr().out.replace("\n", " ")
    assert main(train) == 0
    assert "bo@v1" in capsys.readouterr().out

    store = ["--store", f"{out}/store"]
    assert main(["ask", *store, "--concept", "bo", "--device", "cpu", "Where is <bo>?", "--max-tokens", "2"]) == 0
    drawn = ["draw", *store, "--concept", "bo", "--device", "cpu", "A photo of <bo>.", "--steps", "2"]
    assert main([*drawn, "--out", "bo.png"]) == 0 and Path("bo.png").exists()
    assert main(["concepts", *store, "alias", "bo@v1", "stable"]) == 0
    assert main(["concepts", *store]) == 0
    assert "stable=v1" in capsys.readouterr().out
    held = ["--data", str(toyland), "--out", "exam", "--contenders", "tokens", "--judge", "none", "--clip", "none"]
    assert main(["evaluate", *store, "--concept", "bo@stable", "--device", "cpu", *held, "--steps", "1"]) == 0
    assert Path("exam", "bo@v1-correct", "scores.json").exists()

    kept = open_storage(out).list()
    assert {name.split("/")[0] for name in kept} == {"runs", "store"}
    for name in ("history.jsonl", "events.jsonl", "answers.jsonl", "concept.safetensors"):
        assert any(each.endswith(name) for each in kept), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bo.png", "exam"]  # nothing of it was put here
    assert main(["concepts", *store, "delete", "bo@v1"]) == 0
    assert ConceptStore(f"{out}/store").names() == ()
