"""Concepts that follow a model of MLflow's registry: what is new there is served here within five seconds, and what is broken there
changes nothing here."""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from people import STAMP, Person, bundle
from rayed import until
from team import SOON, Team, follows, trouble

from serve.client import ModelInfo
from serve.config import Registries, ServeConfig
from serve.counted import HttpCounters
from serve.folder import Folder, Users
from serve.follower import Follower
from serve.mirror import renamed
from serve.users.following import Link
from unictokens.concepts.bundle import bundle_to_bytes
from unictokens.settings import to_dict
from unictokens.tracking.mlflow_registry import MlflowRegistry
from unictokens.tracking.spool import locked


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
