"""Multipart forms, as strict as JSON bodies: every field known, files where files belong, each within its bounds."""

from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from serve.limits import Limits
from serve.refusal import Refusal, wrong

Model = TypeVar("Model", bound=BaseModel)
FILES = 32
FIELDS = 64


async def read_form(
    request: Request, model: type[Model], files: Mapping[str, int], limits: Limits
) -> tuple[Model, dict[str, list[bytes]]]:
    """The fields as `model`, and the bytes of the files by name.

    files  names and how many there may be of each; OpenAI's clients write a list as `name[]`
    Raises Refusal and pydantic's ValidationError.
    """
    form = await request.form(max_files=FILES, max_fields=FIELDS, max_part_size=limits.body)
    try:
        values: dict[str, Any] = {}
        contents: dict[str, list[bytes]] = {name: [] for name in files}
        for name in dict.fromkeys(form):
            plain = name.removesuffix("[]")
            if plain in files:
                contents[plain] += [await _content(part, plain, limits) for part in form.getlist(name)]
            else:
                values[plain] = _value(form, name, plain, model)
        for name, most in files.items():
            if len(contents[name]) > most:
                raise wrong("too_many_files", f"'{name}' has {len(contents[name])} files: at most {most}", name)
        return model.model_validate(values), contents
    finally:
        await form.close()


def _value(form: FormData, name: str, plain: str, model: type[BaseModel]) -> Any:
    parts = form.getlist(name)
    if any(isinstance(part, UploadFile) for part in parts):
        raise wrong("invalid_parameter", f"'{plain[:64]}' is a file: no file belongs there", plain[:64])
    field = model.model_fields.get(plain)
    several = field is not None and "list" in str(field.annotation)
    if len(parts) > 1 and not several:
        raise wrong("invalid_parameter", f"'{plain[:64]}' is given {len(parts)} times: give it once", plain[:64])
    return list(parts) if several else parts[0]


async def _content(part: UploadFile | str, name: str, limits: Limits) -> bytes:
    if isinstance(part, str):
        raise wrong("invalid_parameter", f"'{name}' is text: send a file", name)
    if part.size is not None and part.size > limits.image_bytes:
        raise Refusal(
            413, "image_too_large", f"a file of '{name}' has {part.size} bytes: at most {limits.image_bytes}", name
        )
    return await part.read()


def document(model: type[BaseModel], files: Mapping[str, int], required: tuple[str, ...]) -> dict[str, Any]:
    """The form for the OpenAPI document."""
    schema = model.model_json_schema()
    # Forms are flat: what pydantic keeps aside belongs into the one schema.
    schema.pop("$defs", None)
    for name, most in files.items():
        one = {"type": "string", "format": "binary"}
        schema["properties"][name] = one if most == 1 else {"type": "array", "items": one, "maxItems": most}
    schema["required"] = [*schema.get("required", []), *required]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
