"""How a version of a registry is copied: one file of it, asked for until it comes, and never into a concept that is deleted."""

import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import pytest
from people import STAMP, Person, bundle
from rayed import until
from team import SOON, Team

from serve.folder import Folder, Users
from serve.follower import Follower
from serve.mirror import Mirror
from serve.users.following import Link
from unictokens.concepts.bundle import bundle_to_bytes, save_bundle
from unictokens.errors import DependencyError
from unictokens.tracking.mlflow_registry import MlflowRegistry, Registered
from unictokens.tracking.server import Away, Refused


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


def test_without_mlflow_the_error_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(DependencyError, match="pip install mlflow"):
        MlflowRegistry("http://127.0.0.1:9")
