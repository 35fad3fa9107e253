"""Uploaded photos become a concept that can be named, on this machine; runs can be followed, stopped and taken up again."""

import io
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_client import FakeClient
from PIL import Image
from starlette.testclient import TestClient

from serve import local_trainer
from serve.api.app import create_app
from serve.api.state import House
from serve.folder import Folder
from serve.limits import Limits
from serve.local_trainer import LocalTrainer, Process
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


def test_several_runs_are_trained_at_a_time_and_one_that_does_not_stop_is_killed(
    folder: Folder, toyland: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_trainer, "PATIENCE", 0.5)
    runs = [RunFolder(folder.concepts / "u" / name / "runs" / (name * 32)) for name in "abc"]
    for run in runs:
        shutil.copytree(toyland, run.data)
        run.write(RunState(id=run.path.name, concept="bo"))
    begun: list[Stubborn] = []

    def launch(arguments: Sequence[str], told: Path) -> Stubborn:
        begun.append(Stubborn())
        return begun[-1]

    trainer = LocalTrainer(folder.concepts, launch=launch, together=2)
    until = time.monotonic() + PATIENCE
    while len(begun) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    working = [run for run in runs if (state := run.read()) and state.status == "running"]
    assert len(working) == len(begun) == 2
    trainer.cancel(working[0])
    assert sum(each.killed for each in begun) == 1 and all(each.stopped == each.killed for each in begun)
    trainer.close()
    assert all(each.killed for each in begun)
    states = [run.read() for run in runs]
    assert sorted(state.status for state in states if state is not None) in (
        ["cancelled", "queued", "running"],
        ["cancelled", "running", "running"],
    )


@dataclass
class Stubborn:
    """A training that does not listen."""

    stopped: bool = False
    killed: bool = False

    def wait(self, seconds: float) -> int | None:
        time.sleep(min(seconds, 0.05))
        return -9 if self.killed else None

    def stop(self) -> None:
        self.stopped = True

    def kill(self) -> None:
        self.killed = True


def test_a_task_of_ray_says_what_a_process_says(folder: Folder, tmp_path: Path, toyland: Path) -> None:
    ray_trainer = pytest.importorskip("serve.ray_trainer", reason="Ray is not installed", exc_type=ImportError)
    arguments = ["train", "--concept", "nobody", "--data", str(toyland), "--out", str(tmp_path / "out")]
    process = Process(arguments, tmp_path / "process.log")
    while (code := process.wait(PATIENCE)) is None:
        pass
    assert ray_trainer.lesson(arguments, str(tmp_path / "task.log")) == code == 2
    told, by_task = (tmp_path / "process.log").read_text(), (tmp_path / "task.log").read_text()
    assert told.splitlines()[-1] == by_task.splitlines()[-1] and "error: " in told
