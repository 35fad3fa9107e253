"""The application: routes, errors, the door around them. Whoever runs it (uvicorn, Ray Serve) brings the house."""

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from serve.api import chat, concepts, images, models, runs
from serve.api.door import Door
from serve.api.errors import DOCUMENTED, install
from serve.api.state import House
from unictokens import __version__

ABOUT = """Ask about your concepts and draw them, in OpenAI's protocol.

Write `<name>` for a concept of yours, `<owner/name>` for one that was granted to you, `<name@3>` or `<name@alias>` for a
version. Anything else between angle brackets is plain text."""


def create_app(house: House) -> ASGIApp:
    """The endpoint over a house (client, users, trainer, limits)."""
    app = FastAPI(title="UniCTokens", version=__version__, description=ABOUT, redoc_url=None)
    app.state.house = house
    install(app)
    # Only for the document: the door has asked for the key before any route is reached.
    key = HTTPBearer(auto_error=False, description="an API key: python -m serve users key create USER")
    v1 = APIRouter(prefix="/v1", responses=DOCUMENTED, dependencies=[Depends(key)])
    for part in (models, chat, images, concepts, runs):
        v1.include_router(part.router)
    app.include_router(v1)

    @app.get("/health", tags=["health"], operation_id="health")
    def health() -> JSONResponse:
        """200 when requests are taken, else 503."""
        ready = house.client.ready()
        return JSONResponse({"status": "ok" if ready else "unavailable"}, 200 if ready else 503)

    return Door(app, house)
