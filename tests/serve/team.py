"""Those who train somewhere else and register what comes of it, and users here whose concepts follow them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from people import STAMP, Person, bundle

from serve.folder import Users
from serve.users.following import Link
from serve.users.shelf import Concept
from unictokens.concepts.bundle import bundle_to_bytes
from unictokens.tracking.mlflow_server import MlflowServer

SOON = 5.0
"""Seconds within which what is new in a registry is served."""


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


def follows(users: Users, who: Person, team: Team, source: str, name: str = "bo") -> Concept:
    """A new concept of somebody's that follows the team's model of `source`."""
    concept = users.shelf.create(who.user.id, who.user.name, name)
    assert concept is not None
    users.following.begin(Link(concept, team.uri, f"unictokens-{source}", source))
    return concept


def trouble(users: Users, concept: Concept) -> str:
    """What keeps it from following; "" when nothing does."""
    link = users.following.of(concept)
    assert link is not None
    return link.trouble
