"""/v1/concepts/{name}/runs/{run}: how a training run is going, as it goes, and stopping it."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Path
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from serve.api.concepts import Name, own_concept, run_body
from serve.api.state import HereNow, Visit
from serve.api.streams import described, stream
from serve.protocol import RunBody
from serve.refusal import absent
from serve.training import RunFolder
from serve.users.shelf import Concept

router = APIRouter(prefix="/concepts/{name}/runs/{run}", tags=["runs"])

Run = Path(max_length=300, description="a run's id")
PAUSE = 0.5
"""Seconds between looks at a run that is followed."""
_ID = re.compile(r"[0-9a-f]{32}")


@router.get("", operation_id="get_run")
async def get_run(here: HereNow, name: str = Name, run: str = Run) -> RunBody:
    """A run: its state and, while it trains, the last step and losses."""
    here.allow("models")
    return await run_in_threadpool(_look, *await _find(here, name, run))


@router.get("/events", operation_id="follow_run", responses=described("A `RunBody` at each change, then [DONE]."))
async def follow_run(here: HereNow, name: str = Name, run: str = Run) -> Response:
    """A run's changes as server-sent events, until it is over."""
    here.allow("models")
    concept, folder = await _find(here, name, run)

    async def changes() -> AsyncGenerator[dict[str, Any]]:
        before: dict[str, Any] | None = None
        while True:
            now = (await run_in_threadpool(_look, concept, folder)).model_dump()
            if now != before:
                yield now
            if now["status"] in ("finished", "failed", "cancelled"):
                return
            before = now
            await asyncio.sleep(PAUSE)

    return stream(changes(), here.request.state.request_name)


@router.post("/cancel", operation_id="cancel_run")
async def cancel_run(here: HereNow, name: str = Name, run: str = Run) -> RunBody:
    """Stop a run; one that is over stays as it is."""
    here.allow("concepts")
    concept, folder = await _find(here, name, run)
    await run_in_threadpool(here.house.trainer.cancel, folder)
    return await run_in_threadpool(_look, concept, folder)


async def _find(here: Visit, name: str, run: str) -> tuple[Concept, RunFolder]:
    concept = await own_concept(here, name)
    if not _ID.fullmatch(run):
        raise absent("run")
    return concept, RunFolder(concept.folder / "runs" / run)


def _look(concept: Concept, folder: RunFolder) -> RunBody:
    state = folder.read()
    if state is None:
        raise absent("run")
    return run_body(concept, state)
