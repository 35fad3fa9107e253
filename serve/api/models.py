"""GET /v1/models: the backbone, and every concept that the caller may use, each with the backbone as its parent."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from serve.api.state import HereNow, Visit
from serve.protocol import ModelCard, ModelList
from serve.refusal import absent
from serve.users.shelf import Concept

router = APIRouter(tags=["models"])


@router.get("/models", operation_id="list_models")
async def list_models(here: HereNow) -> ModelList:
    """What may be given as `model`. Concepts without a trained version are not listed."""
    here.allow("models")
    return ModelList(data=await run_in_threadpool(_models, here))


@router.get("/models/{model:path}", operation_id="get_model")
async def get_model(model: str, here: HereNow) -> ModelCard:
    """One of them."""
    here.allow("models")
    for card in await run_in_threadpool(_models, here):
        if card.id == model:
            return card
    raise absent("model")


def _models(here: Visit) -> list[ModelCard]:
    backbone, shelf = here.house.client.info.name, here.house.users.shelf
    cards = [ModelCard(id=backbone, created=0, owned_by="system")]
    mine = [(concept.name, concept) for concept in shelf.own(here.caller.user_id)]
    theirs = [(f"{concept.owner}/{concept.name}", concept) for concept in shelf.granted(here.caller.user_id)]
    return cards + [_card(name, concept, backbone) for name, concept in mine + theirs if concept.versions()]


def _card(name: str, concept: Concept, backbone: str) -> ModelCard:
    return ModelCard(id=name, created=int(concept.created), owned_by=concept.owner, parent=backbone)
