"""/v1/concepts: a caller's own concepts, and those granted to them: teach, look, share, choose a version, delete."""

from dataclasses import asdict

from fastapi import APIRouter, Path, Query
from PIL import Image
from starlette.concurrency import run_in_threadpool

from serve.api.forms import document, read_form
from serve.api.state import HereNow, Visit
from serve.naming import ConceptName, new_name
from serve.pictures import read_picture
from serve.protocol import (
    AliasBody,
    ConceptBody,
    ConceptForm,
    ConceptList,
    Deleted,
    RunBody,
    Taught,
    VersionBody,
)
from serve.refusal import Refusal, absent, wrong
from serve.training import Profile, RunFolder, RunState, run_folders, write_lesson
from serve.users.accounts import new_id
from serve.users.shelf import Concept
from unictokens.concepts.store import StoredConcept
from unictokens.errors import ConceptError, StorageError

router = APIRouter(prefix="/concepts", tags=["concepts"])

PHOTOS = {"photos": 20}
Name = Path(max_length=300, description="a concept's name")
Owner = Query(default=None, max_length=64, description="whose it is, for one that was granted to you")


@router.get("", operation_id="list_concepts")
async def list_concepts(here: HereNow) -> ConceptList:
    """Your own concepts, then those granted to you."""
    here.allow("models")
    return ConceptList(data=await run_in_threadpool(_all, here))


@router.post(
    "",
    operation_id="teach_concept",
    status_code=202,
    response_model=Taught,
    openapi_extra=document(ConceptForm, PHOTOS, ("photos",)),
)
async def teach(here: HereNow) -> Taught:
    """A new concept from photos and facts: its training run starts at once."""
    here.allow("concepts")
    profile, photos = await _lesson(here)
    shelf, caller = here.house.users.shelf, here.caller
    if len(await run_in_threadpool(shelf.own, caller.user_id)) >= here.house.limits.own_concepts:
        raise Refusal(409, "too_many_concepts", f"you have {here.house.limits.own_concepts} concepts: delete one first")
    concept = await run_in_threadpool(shelf.create, caller.user_id, caller.user, profile.name)
    if concept is None:
        raise Refusal(
            409, "name_taken", f"you have a concept '{profile.name}' (case does not count): teach it again", "name"
        )
    try:
        await here.take("concepts")
        state = await run_in_threadpool(_start, here, concept, profile, photos)
    except (Refusal, StorageError):
        await run_in_threadpool(shelf.delete, concept)
        raise
    return Taught(concept=await run_in_threadpool(_body, here, concept), run=run_body(concept, state))


@router.post(
    "/{name}/runs",
    operation_id="teach_again",
    status_code=202,
    response_model=Taught,
    openapi_extra=document(ConceptForm, PHOTOS, ("photos",)),
)
async def teach_again(here: HereNow, name: str = Name) -> Taught:
    """A new version of one of your concepts from new photos; the old version is served until it is there."""
    here.allow("concepts")
    profile, photos = await _lesson(here)
    concept = await own_concept(here, name)
    if profile.name != concept.name:
        raise wrong("invalid_parameter", f"the form says '{profile.name}', the address '{concept.name}'", "name")
    await _own_versions(here, concept)
    await here.take("concepts")
    state = await run_in_threadpool(_start, here, concept, profile, photos)
    return Taught(concept=await run_in_threadpool(_body, here, concept), run=run_body(concept, state))


@router.get("/{name}", operation_id="get_concept")
async def get_concept(here: HereNow, name: str = Name, owner: str | None = Owner) -> ConceptBody:
    """One concept: its card, versions, aliases and runs."""
    here.allow("models")
    return await run_in_threadpool(_body, here, await _visible(here, name, owner))


@router.delete("/{name}", operation_id="delete_concept")
async def delete_concept(here: HereNow, name: str = Name) -> Deleted:
    """Delete a concept for good: rows, photos, runs and whatever is kept of it in memory."""
    here.allow("concepts")
    concept = await own_concept(here, name)
    for folder in await run_in_threadpool(run_folders, concept.folder):
        await run_in_threadpool(here.house.trainer.cancel, folder)
    await run_in_threadpool(here.house.users.shelf.delete, concept)
    await run_in_threadpool(here.house.client.forget, concept.id)
    return Deleted(id=concept.name, object="concept")


@router.delete("/{name}/versions/{version}", operation_id="delete_version")
async def delete_version(here: HereNow, version: int = Path(ge=1, le=999_999_999), name: str = Name) -> Deleted:
    """Delete one version and the aliases that mean it."""
    here.allow("concepts")
    concept = await own_concept(here, name)
    try:
        await run_in_threadpool(concept.store.delete, concept.name, version)
    except ConceptError as error:
        raise absent("version") from error
    await run_in_threadpool(here.house.client.forget, concept.id)
    return Deleted(id=f"{concept.name}@{version}", object="concept.version")


@router.put("/{name}/aliases/{alias}", operation_id="set_alias")
async def set_alias(here: HereNow, body: AliasBody, name: str = Name, alias: str = Path(max_length=300)) -> ConceptBody:
    """Let an alias mean a version: `<name@alias>`; the alias `live` decides what `<name>` means."""
    here.allow("concepts")
    concept = await own_concept(here, name)
    await _own_versions(here, concept)
    if body.version not in [stored.version for stored in await run_in_threadpool(concept.versions)]:
        raise absent("version")
    try:
        await run_in_threadpool(concept.store.set_alias, concept.name, alias, body.version)
    except ConceptError as error:
        raise wrong("invalid_alias", str(error), "alias") from error
    return await run_in_threadpool(_body, here, concept)


@router.put("/{name}/grants/{user}", operation_id="grant_concept")
async def grant(here: HereNow, name: str = Name, user: str = Path(max_length=300)) -> ConceptBody:
    """Let another user ask about and draw a concept, as `<you/name>`."""
    here.allow("concepts")
    concept = await own_concept(here, name)
    receiver = await run_in_threadpool(here.house.users.accounts.find, user)
    if receiver is None or receiver.id == here.caller.user_id:
        raise Refusal(404, "user_not_found", "there is no such other user: handles are case-sensitive", "user")
    if not await run_in_threadpool(here.house.users.shelf.grant, concept, receiver.id):
        raise absent("concept")
    return await run_in_threadpool(_body, here, concept)


@router.delete("/{name}/grants/{user}", operation_id="revoke_grant")
async def revoke(here: HereNow, name: str = Name, user: str = Path(max_length=300)) -> ConceptBody:
    """Take a grant back; requests that run already finish."""
    here.allow("concepts")
    concept = await own_concept(here, name)
    receiver = await run_in_threadpool(here.house.users.accounts.find, user)
    if receiver is None or not await run_in_threadpool(here.house.users.shelf.revoke, concept, receiver.id):
        raise absent("grant")
    return await run_in_threadpool(_body, here, concept)


async def own_concept(here: Visit, name: str) -> Concept:
    """One of the caller's own concepts. Raises Refusal: 400 for what cannot be a name, 404 for what is not there."""
    wanted = ConceptName(new_name(name))
    found = await run_in_threadpool(here.find, [wanted])
    if wanted not in found:
        raise absent("concept")
    here.note(concept=found[wanted].id)
    return found[wanted]


async def _own_versions(here: Visit, concept: Concept) -> None:
    """Raises Refusal (409) for a concept whose versions and aliases are those of a registry."""
    link = await run_in_threadpool(here.house.users.following.of, concept)
    if link is not None:
        told = f"'{concept.name}' follows the registered model '{link.model}': change it there, or ask for its end"
        raise Refusal(409, "follows_registry", told, "name")


async def _visible(here: Visit, name: str, owner: str | None) -> Concept:
    if owner is None:
        return await own_concept(here, name)
    wanted = ConceptName(new_name(name), owner)
    found = await run_in_threadpool(here.find, [wanted])
    if wanted not in found:
        raise absent("concept")
    return found[wanted]


async def _lesson(here: Visit) -> tuple[Profile, list[Image.Image]]:
    limits = here.house.limits
    form, files = await read_form(here.request, ConceptForm, PHOTOS, limits)
    fewest, most = limits.photos
    if not fewest <= len(files["photos"]) <= most:
        raise wrong("invalid_photos", f"{len(files['photos'])} photos: send {fewest} to {most} as 'photos'", "photos")
    photos = [await here.decode(read_picture, data, limits, "photos") for data in files["photos"]]
    values = form.model_dump()
    return Profile(**{**values, "name": new_name(form.name), "facts": tuple(form.facts)}), photos


def _start(here: Visit, concept: Concept, profile: Profile, photos: list[Image.Image]) -> RunState:
    shelf = here.house.users.shelf
    state = RunState(id=new_id(), concept=concept.name, created=shelf.clock())
    folder = RunFolder(concept.folder / "runs" / state.id)
    write_lesson(folder, profile, photos)
    folder.write(state)
    here.house.trainer.start(folder, concept.store_folder, concept.name)
    here.note(concept=concept.id, run=state.id)
    return folder.read() or state


def _all(here: Visit) -> list[ConceptBody]:
    shelf, user = here.house.users.shelf, here.caller.user_id
    return [_body(here, concept) for concept in (*shelf.own(user), *shelf.granted(user))]


def _body(here: Visit, concept: Concept) -> ConceptBody:
    mine = concept.user_id == here.caller.user_id
    body = ConceptBody(
        id=concept.id,
        name=concept.name if mine else f"{concept.owner}/{concept.name}",
        owner=concept.owner,
        mine=mine,
        created=concept.created,
        versions=[_version(here, stored) for stored in concept.versions()],
    )
    if body.versions:
        served = concept.served()
        body.served, body.class_word, body.info = served.reference.version, served.card.class_word, served.card.info
        body.aliases = concept.store.aliases(concept.name)
    if mine:
        runs = run_folders(concept.folder)
        states = sorted(filter(None, (folder.read() for folder in runs)), key=lambda state: state.created)
        body.runs = [run_body(concept, state) for state in states]
        body.photos = sum(1 for _ in concept.folder.glob("runs/*/data/concept/train/*/*.png"))
        body.granted_to = list(here.house.users.shelf.receivers(concept))
        link = here.house.users.following.of(concept)
        body.follows = None if link is None else link.model
    return body


def _version(here: Visit, stored: StoredConcept) -> VersionBody:
    card = stored.card()
    return VersionBody(
        version=stored.version,
        created=card.provenance.created,
        stage=card.provenance.stage,
        backbone=card.backbone.name,
        usable=card.backbone.fingerprint == here.house.client.info.fingerprint,
    )


def run_body(concept: Concept, state: RunState) -> RunBody:
    """A run as its owner sees it."""
    progress = RunFolder(concept.folder / "runs" / state.id).progress() if state.status == "running" else {}
    return RunBody(**asdict(state), progress=progress)
