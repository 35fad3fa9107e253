"""Users in a house with a client that computes nothing: ada, bob and, for a whole module, eve; and a team whose models they follow."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_client import FakeClient
from people import STAMP, Person, bundle
from starlette.testclient import TestClient
from team import Team

from serve.__main__ import main
from serve.api.app import create_app
from serve.api.state import House
from serve.config import Registries
from serve.folder import Folder, Users
from serve.follower import Follower
from serve.limits import Limits
from serve.training import NoTrainer
from serve.users.quotas import Quota
from serve.users.shelf import Concept
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.weights import load
from unictokens.concepts.card import BackboneStamp
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.tracking.address import sqlite_uri
from unictokens.tracking.mlflow_server import MlflowServer


@pytest.fixture(scope="session")
def mini() -> ShowO:
    """The shipped base; tests must not change it."""
    return load("mini")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "endpoint")


@pytest.fixture
def users(folder: Folder) -> Iterator[Users]:
    opened = folder.open_users()
    yield opened
    opened.keys.database.close()


@pytest.fixture
def fake(tiny_tokenizer: TextTokenizer) -> FakeClient:
    return FakeClient(tiny_tokenizer)


@pytest.fixture
def house(users: Users, fake: FakeClient) -> House:
    return House(client=fake, users=users, trainer=NoTrainer(), limits=Limits())


@pytest.fixture
def http(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house)) as client:
        yield client


@pytest.fixture
def person(users: Users, http: TestClient) -> Callable[[str], Person]:
    """A new user by handle."""

    def make(name: str) -> Person:
        user = users.accounts.add(name)
        key, text = users.keys.create(user.id)
        return Person(user, text, key.id, http, users.shelf.root.parent)

    return make


@pytest.fixture(scope="module")
def eve(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: TextTokenizer) -> Iterator[Person]:
    """A user of a house of her own, which the tests of a module share and leave as it was."""
    folder = Folder(tmp_path_factory.mktemp("eve"))
    users = folder.open_users()
    user = users.accounts.add("eve")
    key, text = users.keys.create(user.id)
    for kind in ("requests", "images", "bytes"):
        users.quotas.set(key.id, kind, Quota(1e12, 1))
    house = House(client=FakeClient(tiny_tokenizer), users=users, trainer=NoTrainer(), limits=Limits())
    with TestClient(create_app(house)) as client:
        yield Person(user, text, key.id, client, folder.root)


@pytest.fixture
def ada(person: Callable[[str], Person]) -> Person:
    return person("ada")


@pytest.fixture
def bob(person: Callable[[str], Person]) -> Person:
    return person("bob")


@pytest.fixture
def give(users: Users) -> Callable[..., Concept]:
    """Publish a version of a concept in somebody's namespace."""

    def publish(owner: Person, name: str, seed: int = 0, stamp: BackboneStamp = STAMP) -> Concept:
        known = {concept.name: concept for concept in users.shelf.own(owner.user.id)}
        concept = known.get(name) or users.shelf.create(owner.user.id, owner.user.name, name)
        assert concept is not None
        concept.store.publish(bundle(name, seed, stamp))
        return concept

    return publish


@pytest.fixture
def users_command(folder: Folder, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`python -m serve users` with some arguments: its exit code, and what it says."""

    def call(*arguments: str) -> tuple[int, str]:
        code = main(["users", "--folder", str(folder.root), *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Their registry; each test registers models of other names. Skipped without mlflow."""
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
