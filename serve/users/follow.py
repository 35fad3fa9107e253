"""Letting a user's concept follow a registered model: what must hold before it may."""

from serve.folder import Users
from serve.mirror import read_version, renamed
from serve.naming import ConceptName
from serve.training import run_folders
from serve.users.accounts import User
from serve.users.following import Link
from serve.users.shelf import Concept
from unictokens.concepts.bundle import bundle_to_bytes
from unictokens.concepts.names import check_name
from unictokens.errors import ConceptError
from unictokens.tracking.address import shown, whole
from unictokens.tracking.mlflow_registry import MlflowRegistry
from unictokens.tracking.server import Refused


def follow(users: Users, user: User, registry: str, model: str, name: str | None = None) -> Link:
    """Let a concept of `user` have the versions and aliases of `model` in `registry` from now on.

    name  of the concept, which is made if the user has none of that name; without, as its bundles are called
    A concept that has versions already must have them from there: numbers would mean two things.
    Raises StorageError and DependencyError for the registry, ConceptError for what does not fit.
    """
    uri = whole(registry)
    opened = MlflowRegistry(uri)
    there = opened.look(model)
    if not there.versions:
        raise ConceptError(f"'{model}' has no version in '{shown(uri)}': train it, or send it with 'cluster track'")
    source = read_version(opened, model, there.versions[0]).card.name
    name = check_name(name or source)
    known = users.shelf.find(user.id, user.name, [ConceptName(name)]).get(ConceptName(name))
    concept = known or users.shelf.create(user.id, user.name, name)
    if concept is None:
        raise ConceptError(f"{user.name} has a concept that is called '{name}' in another case: rename one of them")
    _check(opened, model, concept)
    link = Link(concept, uri, model, source)
    users.following.begin(link)
    return link


def _check(registry: MlflowRegistry, model: str, concept: Concept) -> None:
    instead = "choose another name with --as, or delete it first"
    for folder in run_folders(concept.folder):
        state = folder.read()
        if state is not None and not state.over:
            raise ConceptError(f"{concept.owner}'s {concept.name} is being taught: wait, {instead}")
    for stored in concept.versions():
        try:
            theirs = renamed(read_version(registry, model, stored.version), concept.name)
        except Refused:
            theirs = None
        if theirs is None or bundle_to_bytes(theirs) != bundle_to_bytes(stored.load()):
            raise ConceptError(
                f"{concept.owner}'s {concept.name} has a version {stored.version} that is not version {stored.version} "
                f"of '{model}': {instead}"
            )
