"""POST /v1/images/generations and /v1/images/edits: pictures of concepts, from nothing or inside a given picture."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter
from PIL import Image
from starlette.concurrency import run_in_threadpool

from serve.api.forms import document, read_form
from serve.api.state import HereNow, Visit
from serve.api.streams import begun, described, stream
from serve.client import Canvas, Draw, DrawEvent, Drawn, Sketch
from serve.pictures import encode_png, paste, read_picture, redraw_where_clear
from serve.protocol import SEEDS, EditForm, ImageBody, ImageData, Images
from serve.refusal import wrong
from serve.translate import check_size, count_tokens, drawing_prompt, resolve
from unictokens.backbones.base import Sampling
from unictokens.images import View, view_image
from unictokens.replay.trace import Trace

router = APIRouter(tags=["images"])

Kind = Literal["image_generation", "image_edit"]
FILES = {"image": 1, "mask": 1}
STREAMED = described("The pictures, or with `stream` server-sent events: partial pictures, the finished one, [DONE].")


@router.post(
    "/images/generations",
    operation_id="create_image",
    response_model=Images,
    response_model_exclude_none=True,
    responses=STREAMED,
)
async def generate(body: ImageBody, here: HereNow) -> Any:
    """Draw. `<name>` in the prompt stands for one of your concepts."""
    here.allow("images")
    return await _answer(*await _understand(body, here), body, here, "image_generation")


@router.post(
    "/images/edits",
    operation_id="edit_image",
    response_model=Images,
    response_model_exclude_none=True,
    responses=STREAMED,
    openapi_extra=document(EditForm, FILES, ("image",)),
)
async def edit(here: HereNow) -> Any:
    """Redraw where the mask (or, without one, the picture itself) is transparent; other pixels stay as they are."""
    here.allow("images")
    house = here.house
    form, files = await read_form(here.request, EditForm, FILES, house.limits)
    if not files["image"]:
        raise wrong("missing_parameter", "the field 'image' is missing: send the picture as a file", "image")
    draw, trace = await _understand(form, here)
    picture = await here.decode(read_picture, files["image"][0], house.limits, "image", True)
    mask = picture
    if files["mask"]:
        mask = await here.decode(read_picture, files["mask"][0], house.limits, "mask", True)
        if mask.size != picture.size:
            raise wrong("invalid_mask", f"the mask is {mask.size}, the picture {picture.size}: make them equal", "mask")
    canvas = await here.decode(_canvas, picture, mask, house.client.info.image_size)
    return await _answer(replace(draw, canvas=canvas), trace, form, here, "image_edit")


def _canvas(picture: Image.Image, mask: Image.Image, size: int) -> Canvas:
    """Both as the model sees pictures: the middle square, scaled to its size."""
    redraw = redraw_where_clear(mask, size, "mask")
    return Canvas(view_image(picture.convert("RGB"), View(size, size)), redraw)


async def _understand(body: ImageBody, here: Visit) -> tuple[Draw, Trace | None]:
    """The request as work, its first picture; and what was replayed for it. Raises Refusal."""
    house, info = here.house, here.house.client.info
    check_size(body.size, info.image_size)
    if body.stream and body.n > 1:
        raise wrong("invalid_parameter", "a stream has one picture: set n to 1", "n")
    if body.partial_images and not body.stream:
        raise wrong("invalid_parameter", "partial pictures are streamed: set stream to true", "partial_images")
    named = await run_in_threadpool(resolve, [body.prompt], body.model, info.name, here.find, house.limits)
    here.note(concepts=[reference.key for reference in named.references])

    def fits(text: str) -> None:
        count_tokens(house.client.drawing_tokens, drawing_prompt(text, named), param="prompt")

    await run_in_threadpool(fits, body.prompt)
    text, seconds, trace = body.prompt, house.limits.deadline, None
    if body.replay:
        text, seconds, trace = await here.replay(text, named, fits)
    draw = Draw(
        user=here.caller.user_id,
        prompt=drawing_prompt(text, named),
        concepts=named.references,
        sampling=Sampling(steps=body.steps, guidance=body.guidance),
        seed=secrets.randbelow(SEEDS) if body.seed is None else body.seed,
        seconds=seconds,
        partials=body.partial_images,
    )
    return draw, trace


async def _answer(draw: Draw, trace: Trace | None, body: ImageBody, here: Visit, kind: Kind) -> Any:
    await here.take("images", body.n)
    here.note(images=body.n)
    client, size = here.house.client, here.house.client.info.image_size
    if body.stream:
        events = await here.unless_gone(begun(client.draw(draw)))
        return stream(_events(events, draw, trace, kind, size), here.request.state.request_name, named=True)
    draws = [replace(draw, seed=(draw.seed + number) % SEEDS) for number in range(body.n)]
    pictures = await here.unless_gone(_all([client.draw(one) for one in draws]))
    data = [
        ImageData(b64_json=await run_in_threadpool(_coded, picture, one), seed=one.seed)
        for picture, one in zip(pictures, draws, strict=True)
    ]
    return Images(created=int(time.time()), data=data, size=f"{size}x{size}", replay=trace)


async def _all(drawings: list[AsyncGenerator[DrawEvent]]) -> list[Image.Image]:
    """The pictures of drawings that go on side by side; the first error ends all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_whole(drawing)) for drawing in drawings]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def _whole(events: AsyncGenerator[DrawEvent]) -> Image.Image:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Drawn):
                return event.picture
    raise RuntimeError("a drawing ended without its last event")


async def _events(
    events: AsyncGenerator[DrawEvent], draw: Draw, trace: Trace | None, kind: Kind, size: int
) -> AsyncGenerator[dict[str, Any]]:
    about = {"created_at": int(time.time()), "size": f"{size}x{size}", "quality": "auto", "background": "opaque"}
    about |= {"output_format": "png"}
    told = {} if trace is None else {"replay": trace.to_json()}
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Sketch):
                coded = await run_in_threadpool(_coded, event.picture, draw)
                yield {"type": f"{kind}.partial_image", "b64_json": coded, "partial_image_index": event.index, **about}
            if isinstance(event, Drawn):
                coded = await run_in_threadpool(_coded, event.picture, draw)
                usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
                usage |= {"input_tokens_details": {"image_tokens": 0, "text_tokens": 0}}
                yield {
                    "type": f"{kind}.completed",
                    "b64_json": coded,
                    "seed": draw.seed,
                    "usage": usage,
                    **about,
                    **told,
                }
                return
    raise RuntimeError("a drawing ended without its last event")


def _coded(picture: Image.Image, draw: Draw) -> str:
    if draw.canvas is not None:
        picture = paste(picture, draw.canvas.picture, draw.canvas.redraw)
    return base64.b64encode(encode_png(picture)).decode()
