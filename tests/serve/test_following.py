"""Concepts that follow a model of MLflow's registry: what is new there is served here within five seconds, and what is broken there
changes nothing here."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_client import FakeClient
from people import STAMP, Person, bundle
from rayed import until

from serve.__main__ import main
from serve.client import ModelInfo
from serve.config import Registries, ServeConfig
from serve.counted import HttpCounters
from serve.folder import Folder, Users
from serve.follower import Follower
from serve.mirror import Mirror, renamed
from serve.training import RunFolder, RunState
from serve.users.following import Link
from serve.users.shelf import Concept
from unictokens.concepts.bundle import bundle_to_bytes, save_bundle
from unictokens.errors import DependencyError
from unictokens.settings import to_dict
from unictokens.tracking.address import sqlite_uri
from unictokens.tracking.mlflow_registry import MlflowRegistry, Registered
from unictokens.tracking.mlflow_server import MlflowServer
from unictokens.tracking.server import Away, Refused
from unictokens.tracking.spool import locked

SOON = 5.0


@dataclass
class Team:
    """Those who train and register, in MLflow on a database file."""

    uri: str
    server: MlflowServer
    client: Any
    folder: Path
    runs: int = 0

    def register(self, concept: str, data: bytes) -> int:
        """A version of a concept's model, as `cluster track` leaves it; its number."""
        self.runs += 1
        spool, file = f"{self.runs:032x}", self.folder / f"{self.runs}.safetensors"
        file.write_bytes(data)
        run = self.server.open(spool, f"run-{self.runs}", {}, "", 1_700_000_000_000, True)
        self.server.register(run, spool, concept, self.runs, file)
        return max(int(one.version) for one in self.client.search_model_versions(f"name = 'unictokens-{concept}'"))

    def train(self, concept: str, seed: int, stamp: Any = STAMP) -> int:
        return self.register(concept, bundle_to_bytes(bundle(concept, seed, stamp)))

    def alias(self, concept: str, alias: str, version: int) -> None:
        self.client.set_registered_model_alias(f"unictokens-{concept}", alias, str(version))


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    folder = tmp_path_factory.mktemp("registry")
    uri = sqlite_uri(folder)
    return Team(uri, MlflowServer(uri), mlflow.MlflowClient(uri, uri), folder)


@pytest.fixture
def follower(users: Users, folder: Folder) -> Iterator[Follower]:
    """As an endpoint has it, which serves the backbone `STAMP`."""
    made = Follower(users, lambda: STAMP.fingerprint, folder.follower, Registries().every)
    yield made
    made.close()


@pytest.fixture
def served(fake: FakeClient) -> Callable[..., int]:
    """The version that a person's prompt means; 0 while there is none."""

    def ask(who: Person, text: str = "<bo>") -> int:
        status = who.ask(text).status_code
        assert status in (200, 409)
        return fake.asked[-1].concepts[0].version if status == 200 else 0

    return ask


@pytest.fixture
def users_command(folder: Folder, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*arguments: str) -> tuple[int, str]:
        code = main(["users", "--folder", str(folder.root), *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def follows(users: Users, who: Person, team: Team, source: str, name: str = "bo") -> Concept:
    concept = users.shelf.create(who.user.id, who.user.name, name)
    assert concept is not None
    users.following.begin(Link(concept, team.uri, f"unictokens-{source}", source))
    return concept


def test_a_new_version_and_a_moved_alias_are_served_within_five_seconds(
    ada: Person, team: Team, users_command: Any, follower: Follower, served: Callable[..., int]
) -> None:
    assert [team.train("bo", seed) for seed in (1, 2)] == [1, 2]
    team.alias("bo", "stable", 1)
    code, said = users_command("follow", "ada", "--registry", team.uri, "--model", "unictokens-bo")
    assert code == 0 and "ada's bo follows unictokens-bo" in said
    until(lambda: len(ada.get("/v1/concepts/bo").json()["versions"]) == 2, SOON)
    assert (served(ada), served(ada, "<bo@stable>"), served(ada, "<bo@1>")) == (2, 1, 1)
    assert team.train("bo", 3) == 3
    until(lambda: served(ada) == 3, SOON)
    team.alias("bo", "live", 2)
    until(lambda: served(ada) == 2, SOON)
    team.alias("bo", "live", 1), team.alias("bo", "stable", 3)
    until(lambda: (served(ada), served(ada, "<bo@stable>")) == (1, 3), SOON)
    team.client.delete_registered_model_alias("unictokens-bo", "live")
    until(lambda: served(ada) == 3, SOON)
    seen = ada.get("/v1/concepts/bo").json()
    assert seen["follows"] == "unictokens-bo" and [one["version"] for one in seen["versions"]] == [1, 2, 3]
    assert seen["aliases"] == {"stable": 3}
    told = ada.put("/v1/concepts/bo/aliases/live", json={"version": 1})
    assert told.status_code == 409 and told.json()["error"]["code"] == "follows_registry"
    code, said = users_command("following")
    assert code == 0 and "ada/bo" in said and "v1, v2, v3" in said


def test_a_model_may_have_another_name_here(
    ada: Person, team: Team, users: Users, users_command: Any, follower: Follower, served: Callable[..., int]
) -> None:
    team.train("tavo", 1)
    assert users_command("follow", "ada", "--registry", team.uri, "--model", "unictokens-tavo", "--as", "bo")[0] == 0
    until(lambda: served(ada) == 1, SOON)
    concept = users.shelf.own(ada.user.id)[0]
    assert concept.store.get("bo").card.info == "<bo> is a dog."
    assert bundle_to_bytes(concept.store.get("bo")) == bundle_to_bytes(renamed(bundle("tavo", 1), "bo"))


def test_broken_versions_change_nothing_and_later_ones_are_served(
    ada: Person, bob: Person, team: Team, users: Users, follower: Follower, served: Callable[..., int], caplog: Any
) -> None:
    team.train("miru", 1)
    concept = follows(users, ada, team, "miru")
    until(lambda: served(ada) == 1, SOON)
    good = bundle_to_bytes(bundle("miru", 2))
    bad = {
        "damaged": good[:-4] + b"\0\0\0\0",
        "not a concept bundle": b"\x80\x04 a pickle",
        "a concept 'other'": bundle_to_bytes(bundle("other")),
        "served is another": bundle_to_bytes(bundle("miru", 2, replace(STAMP, fingerprint="e" * 64))),
    }
    team.train("kiko", 1)
    follows(users, bob, team, "kiko")
    for reason, data in bad.items():
        team.alias("miru", "live", number := team.register("miru", data))
        until(lambda: f"version {number} is not taken" in trouble(users, concept), SOON)
        assert reason in trouble(users, concept) and served(ada) == 1
        assert concept.store.aliases("bo") == {}
    until(lambda: served(bob) == 1, SOON)
    team.alias("miru", "live", number := team.register("miru", good))
    until(lambda: served(ada) == number == 6, SOON)
    told = [
        record.message for record in caplog.records if concept.id in record.message and "version 2" in record.message
    ]
    assert len(told) == 1 and "ada" not in told[0]


def test_a_registry_that_is_away_or_hangs_changes_nothing_and_keeps_nobody_waiting(
    ada: Person,
    bob: Person,
    team: Team,
    users: Users,
    follower: Follower,
    served: Callable[..., int],
    give: Any,
    caplog: Any,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        addresses = ("http://127.0.0.1:9", f"http://127.0.0.1:{hangs.getsockname()[1]}")
        kept = [give(ada, "bo"), give(ada, "miru")]
        for concept, uri in zip(kept, addresses, strict=True):
            users.following.begin(Link(concept, uri, "unictokens-away", "away"))
        team.train("kept", 1)
        follows(users, bob, team, "kept")
        until(lambda: served(bob) == 1, SOON)
        until(lambda: "127.0.0.1:9" in trouble(users, kept[0]), SOON)
        time.sleep(2 * Registries().every)
        team.train("kept", 2)
        until(lambda: served(bob) == 2, SOON)
        assert served(ada) == served(ada, "<miru>") == 1
        assert sum("keep the versions they have" in record.message for record in caplog.records) == 1


def test_whoever_ends_it_or_deletes_the_concept_gets_nothing_more(
    ada: Person, team: Team, users: Users, users_command: Any, follower: Follower, served: Callable[..., int]
) -> None:
    for name in ("nara", "olum"):
        team.train(name, 1)
    follows(users, ada, team, "nara"), follows(users, ada, team, "olum", "olum")
    until(lambda: served(ada) == served(ada, "<olum>") == 1, SOON)
    folder = next(one for one in users.shelf.own(ada.user.id) if one.name == "olum").folder
    assert users_command("unfollow", "ada", "bo")[0] == 0 and ada.delete("/v1/concepts/olum").status_code == 200
    assert users.following.all() == ()
    for name in ("nara", "olum"):
        team.train(name, 2)
    time.sleep(2 * Registries().every)
    assert served(ada) == 1 and not folder.exists()
    assert ada.put("/v1/concepts/bo/aliases/live", json={"version": 1}).status_code == 200
    assert users_command("unfollow", "ada", "bo") == (
        2,
        "error: ada's bo follows nothing: 'users following' shows what does\n",
    )
    assert users_command("follow", "ada", "--registry", team.uri, "--model", "unictokens-nara", "--as", "bo")[0] == 0
    until(lambda: served(ada) == 2, SOON)


def test_what_cannot_follow_is_refused_in_one_line(
    ada: Person, team: Team, users: Users, users_command: Any, give: Any, tmp_path: Path
) -> None:
    team.train("pim", 1)
    absent = tmp_path / "none.db"
    for arguments, words in (
        (("--registry", team.uri, "--model", "unictokens-nobody"), "unictokens-nobody"),
        (("--registry", f"sqlite:///{absent}", "--model", "unictokens-pim"), "is not there"),
        (("--registry", "http://me:secret@127.0.0.1:9", "--model", "unictokens-pim"), "127.0.0.1:9"),
        (("--registry", "nonsense://there", "--model", "unictokens-pim"), "nonsense"),
        (("--registry", team.uri, "--model", "x' or name = 'unictokens-pim"), "quote"),
        (("--registry", team.uri, "--model", "unictokens-pim", "--as", "../x"), "concept name"),
    ):
        code, said = users_command("follow", "ada", *arguments)
        assert code == 2 and said.count("\n") == 1 and words in said and "secret" not in said, said
    assert users.following.all() == () and users.shelf.own(ada.user.id) == () and not absent.exists()

    asked = ("follow", "ada", "--registry", team.uri, "--model", "unictokens-pim")
    concept = give(ada, "pim", seed=9)
    assert "version 1 that is not version 1 of 'unictokens-pim'" in users_command(*asked)[1]
    concept.store.delete("pim", 1), concept.store.put(bundle("pim", 1), 2)
    assert "version 2 that is not version 2" in users_command(*asked)[1]
    users.shelf.delete(concept)
    same = give(ada, "pim", seed=1)
    RunFolder(same.folder / "runs/1").write(RunState(id="1", concept="pim", status="running"))
    assert "is being taught" in users_command(*asked)[1]
    RunFolder(same.folder / "runs/1").change(status="failed")
    assert users_command(*asked)[0] == 0
    taken = users_command("import", "ada", "--store", str(same.store_folder), "--concept", "pim")
    assert taken[0] == 2 and "follows a registry" in taken[1]


def test_one_of_two_looks_and_the_other_takes_over(
    ada: Person, team: Team, users: Users, folder: Folder, served: Callable[..., int]
) -> None:
    asked: list[str] = []

    def connect(name: str) -> Callable[[str], MlflowRegistry]:
        return lambda uri: asked.append(name) or MlflowRegistry(uri)

    team.train("quis", 1)
    follows(users, ada, team, "quis")
    first = Follower(users, lambda: STAMP.fingerprint, folder.follower, 0.2, connect("first"))
    until(lambda: served(ada) == 1, SOON)
    second = Follower(users, lambda: STAMP.fingerprint, folder.follower, 0.2, connect("second"))
    time.sleep(1)
    assert asked == ["first"]
    first.close()
    team.train("quis", 2)
    until(lambda: served(ada) == 2, SOON)
    second.close()
    assert asked == ["first", "second"]


@dataclass
class FakeRegistry:
    """A registry in memory."""

    versions: dict[int, bytes | Exception]
    asked: int = 0
    before: Callable[[], None] = lambda: None

    def marks(self, models: Collection[str]) -> dict[str, str]:
        return {model: str(self.versions) for model in models}

    def look(self, model: str) -> Registered:
        return Registered(tuple(sorted(self.versions, reverse=True)), {})

    def bundle(self, model: str, version: int) -> bytes:
        self.asked += 1
        self.before()
        data = self.versions[version]
        if isinstance(data, Exception):
            raise data
        return data


def test_a_version_that_did_not_come_is_asked_for_less_and_less_often_until_it_does(ada: Person, users: Users) -> None:
    concept = users.shelf.create(ada.user.id, "ada", "bo")
    assert concept is not None
    now, link = [0.0], Link(concept, "memory", "bo", "bo")
    registry = FakeRegistry({1: bundle_to_bytes(bundle("bo")), 2: Away("no answer")})
    mirror = Mirror(registry, lambda: STAMP.fingerprint, lambda: now[0])
    assert mirror.update(link) == "version 2 is not taken: no answer" and concept.served().reference.version == 1
    for _ in range(600):
        now[0] += 2
        assert mirror.update(link)
    assert registry.asked == 2 + 7  # after 5, 10, 20, ... seconds
    registry.versions[2] = bundle_to_bytes(bundle("bo", 2))
    now[0] += 600
    assert mirror.update(link) == "" and concept.served().reference.version == 2
    concept.store.delete("bo", 2)
    assert mirror.update(link) == "" and concept.store.given("bo") == (1, 2) and concept.served().reference.version == 1


def test_nothing_of_a_concept_comes_back_that_is_deleted_while_it_is_copied(
    ada: Person, users: Users, folder: Folder
) -> None:
    concept = users.shelf.create(ada.user.id, "ada", "bo")
    assert concept is not None
    concept.store.put(bundle("bo"), 1)
    users.following.begin(Link(concept, "memory", "bo", "bo"))
    registry = FakeRegistry({2: bundle_to_bytes(bundle("bo"))}, before=lambda: users.shelf.delete(concept))
    follower = Follower(users, lambda: STAMP.fingerprint, folder.follower, 0.1, lambda uri: registry)
    until(lambda: registry.asked > 0 and not concept.folder.exists(), SOON)
    time.sleep(0.5)
    follower.close()
    assert not concept.folder.exists() and users.following.all() == ()


class Handle:
    """Replicas of a model that say what they are, without Ray."""

    info: Any

    def __init__(self) -> None:
        self.info = self

    def options(self, **_: Any) -> "Handle":
        return self

    async def remote(self) -> ModelInfo:
        return ModelInfo(name="fake", image_size=32, fingerprint=STAMP.fingerprint)


def test_a_door_on_ray_follows_while_it_is_open(ada: Person, team: Team, users: Users, folder: Folder) -> None:
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed")
    from serve.deployment import Doors

    team.train("salo", 1)
    concept = follows(users, ada, team, "salo")

    async def open_for_a_while() -> None:
        doors = Doors(to_dict(ServeConfig(folder=str(folder.root))), Handle(), None)  # type: ignore[arg-type]
        async with doors._open(HttpCounters()):
            await asyncio.to_thread(until, lambda: len(concept.versions()) == 1, SOON)

    asyncio.run(open_for_a_while())
    with locked(folder.follower) as free:
        assert free


def test_without_mlflow_the_error_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(DependencyError, match="pip install mlflow"):
        MlflowRegistry("http://127.0.0.1:9")


def test_only_one_file_of_a_version_is_fetched(team: Team, tmp_path: Path) -> None:
    number = team.train("runa", 1)
    registry = MlflowRegistry(team.uri)
    version = team.client.get_model_version("unictokens-runa", str(number))
    save_bundle(bundle("runa", 7), tmp_path / "other.safetensors")
    team.client.log_artifact(version.run_id, str(tmp_path / "other.safetensors"), "model")
    assert registry.bundle("unictokens-runa", number) == bundle_to_bytes(bundle("runa", 1))
    team.client.create_model_version("unictokens-runa", f"runs:/{version.run_id}/nowhere", version.run_id)
    with pytest.raises((Refused, Away)):
        registry.bundle("unictokens-runa", number + 1)
    with pytest.raises(Refused):
        registry.bundle("unictokens-runa", 99)


def trouble(users: Users, concept: Concept) -> str:
    link = users.following.of(concept)
    assert link is not None
    return link.trouble
