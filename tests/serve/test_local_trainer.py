"""Uploaded photos become a concept that can be named, on this machine; runs can be followed, stopped and taken up again."""

import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_client import FakeClient
from PIL import Image
from starlette.testclient import TestClient

from serve.api.app import create_app
from serve.api.state import House
from serve.folder import Folder
from serve.limits import Limits
from serve.local_trainer import LocalTrainer
from serve.training import RunFolder, RunState

LESSON = {"name": "bo", "class_word": "dog", "info": "<bo> is a brown dog.", "facts": "<bo> likes ham."}
PATIENCE = 240


@pytest.fixture
def options(tiny_base: Path, short_settings: list[str]) -> tuple[str, ...]:
    return ("--config", "demo", "--backbone", str(tiny_base), "--set", *short_settings)


@pytest.fixture
def negatives(toyland: Path, tmp_path: Path) -> Path:
    made = tmp_path / "negatives"
    shutil.copytree(toyland / "random_images", made)
    return made


@pytest.fixture
def service(
    folder: Folder, fake: FakeClient, options: tuple[str, ...], negatives: Path
) -> Iterator[tuple[TestClient, dict[str, str]]]:
    users = folder.open_users()
    _, key = users.keys.create(users.accounts.add("ada").id)
    trainer = LocalTrainer(folder.concepts, options, negatives)
    house = House(client=fake, users=users, trainer=trainer, limits=Limits())
    with TestClient(create_app(house)) as http:
        yield http, {"Authorization": f"Bearer {key}"}
    trainer.close()


def photos(toyland: Path) -> list[tuple[str, tuple[str, bytes]]]:
    files = sorted((toyland / "concept" / "train" / "bo").glob("*.png"))[:3]
    return [("photos", (file.name, file.read_bytes())) for file in files]


def test_a_concept_is_taught_followed_served_and_deleted(service, toyland: Path, folder: Folder) -> None:  # type: ignore[no-untyped-def]
    http, key = service
    made = http.post("/v1/concepts", data=LESSON, files=photos(toyland), headers=key)
    assert made.status_code == 202, made.text
    run = made.json()["run"]["id"]
    with http.stream("GET", f"/v1/concepts/bo/runs/{run}/events", headers=key) as told:
        lines = [line.removeprefix("data: ") for line in told.iter_lines() if line]
    states = [json.loads(line) for line in lines[:-1]]
    assert lines[-1] == "[DONE]" and (states[-1]["status"], states[-1]["version"]) == ("finished", 1), states[-1]
    assert any(state["progress"].get("step") for state in states)
    body = {"model": "bo", "messages": [{"role": "user", "content": "Who is <bo>?"}]}
    assert http.post("/v1/chat/completions", json=body, headers=key).json()["choices"][0]["message"]["content"]
    (concept,) = [path.parent.parent for path in folder.concepts.glob("*/*/runs/*")]
    assert not list(concept.glob("runs/*/out"))
    assert http.delete("/v1/concepts/bo", headers=key).status_code == 200 and not concept.exists()


def test_a_run_that_is_cancelled_or_deleted_stops_and_stays_away(service, toyland: Path, folder: Folder) -> None:  # type: ignore[no-untyped-def]
    http, key = service
    first, second = (
        http.post("/v1/concepts", data={**LESSON, "name": name}, files=photos(toyland), headers=key).json()["run"]["id"]
        for name in ("bo", "miru")
    )
    begun = time.monotonic()
    while http.get(f"/v1/concepts/bo/runs/{first}", headers=key).json()["status"] == "queued":
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.05)
    assert http.post(f"/v1/concepts/miru/runs/{second}/cancel", headers=key).json()["status"] == "cancelled"
    assert http.delete("/v1/concepts/bo", headers=key).status_code == 200
    time.sleep(1.0)
    assert len(list(folder.concepts.glob("*/*"))) == 1 and not list(folder.concepts.glob("*/*/store"))
    assert http.get(f"/v1/concepts/bo/runs/{first}", headers=key).status_code == 404


def test_an_unfinished_run_is_taken_up_and_its_failure_told_without_paths(
    folder: Folder, options: tuple[str, ...]
) -> None:
    run = RunFolder(folder.concepts / "u" / "c" / "runs" / ("a" * 32))
    run.write(RunState(id="a" * 32, concept="bo", status="running"))
    home = run.data / "concept" / "train" / "bo"
    home.mkdir(parents=True)
    stream = io.BytesIO()
    Image.new("RGB", (32, 32)).save(stream, "PNG")
    (home / "0.png").write_bytes(stream.getvalue()[:60])
    (home / "info.json").write_text(json.dumps({"class": "dog", "info": "A dog."}))
    trainer = LocalTrainer(folder.concepts, options)
    begun = time.monotonic()
    while not (state := run.read()) or not state.over:
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.1)
    trainer.close()
    assert state.status == "failed" and state.error and str(folder.root) not in state.error
