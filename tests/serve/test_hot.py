"""Hot concepts are loaded before anybody asks, stay, and follow what their name means."""

import logging
from collections.abc import Callable

import pytest
import torch
from people import STAMP, Person, bundle

from serve.client import Reference
from serve.engine.counters import ShelfCounters
from serve.engine.shelf import ConceptShelf
from serve.folder import Users
from serve.hot import HotConcepts
from serve.naming import hot_names
from serve.users.shelf import Concept
from unictokens.concepts.bundle import ConceptBundle
from unictokens.errors import ConfigError


def load(reference: object) -> ConceptBundle:
    assert isinstance(reference, Reference)
    return reference.load(STAMP)


@pytest.fixture
def shelf() -> ConceptShelf:
    """One that keeps nothing which is not pinned."""
    return ConceptShelf(load, STAMP, torch.device("cpu"), limit=1, counters=ShelfCounters())


def test_a_hot_concept_is_kept_and_its_next_version_takes_its_place(
    users: Users, ada: Person, give: Callable[..., Concept], shelf: ConceptShelf
) -> None:
    bo, miru = give(ada, "bo"), give(ada, "miru")
    hot = HotConcepts(shelf, users, hot_names(["ada/bo"]))
    first = bo.served().reference
    shelf.card(miru.served().reference)
    assert first in shelf and miru.served().reference not in shelf
    bo.store.publish(bundle("bo", 2, STAMP))
    hot.look()
    assert bo.served().reference in shelf and first not in shelf
    bo.store.set_alias("bo", "live", 1)
    hot.look()
    assert first in shelf and len(shelf) == 1
    hot.close()


def test_what_cannot_be_found_or_loaded_is_told_once_and_tried_again(
    users: Users, ada: Person, give: Callable[..., Concept], shelf: ConceptShelf, caplog: pytest.LogCaptureFixture
) -> None:
    torn = give(ada, "bo")
    for file in torn.store_folder.rglob("*.safetensors"):
        file.write_bytes(b"torn")
    with caplog.at_level(logging.WARNING):
        hot = HotConcepts(shelf, users, hot_names(["ada/bo", "ada/miru", "nobody/bo"]))
        hot.look()
    assert len(caplog.messages) == 3 and len(shelf) == 0
    give(ada, "miru")
    hot.look()
    assert len(shelf) == 1
    users.shelf.delete(users.shelf.own(ada.user.id)[1])
    hot.look()
    assert len(shelf) == 0
    hot.close()


@pytest.mark.parametrize("text", ["bo", "ada/", "ada/bo/x", ""])
def test_a_hot_concept_needs_its_owner(text: str) -> None:
    with pytest.raises(ConfigError, match="ada/bo"):
        hot_names([text])
