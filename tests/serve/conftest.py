"""Two users, ada and bob, in a house with a client that computes nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_client import FakeClient
from people import STAMP, Person, bundle
from starlette.testclient import TestClient

from serve.api.app import create_app
from serve.api.state import House
from serve.folder import Folder, Users
from serve.limits import Limits
from serve.training import NoTrainer
from serve.users.quotas import Quota
from serve.users.shelf import Concept
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.weights import load
from unictokens.concepts.card import BackboneStamp
from unictokens.concepts.tokenizer import TextTokenizer


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
