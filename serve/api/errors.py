"""Errors as OpenAI's clients expect them, whatever went wrong: the one place where exceptions become answers."""

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serve.client import Unavailable
from serve.protocol import ErrorBody
from serve.refusal import Refusal, wrong
from unictokens.errors import Busy, RequestError, StorageError, TimedOut, UniCTokensError

log = logging.getLogger(__name__)

CODES = {404: "not_found", 405: "method_not_allowed", 415: "unsupported_media_type"}
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The request is wrong; the message names the field.",
        401: "No key, or one that is not valid.",
        403: "The key lacks a scope.",
        404: "Not there, or not yours.",
        408: "The body did not arrive in time.",
        409: "Not possible in the concept's state.",
        413: "Too large.",
        429: "A quota is used up or too much at once; Retry-After says when to come back.",
        503: "Busy, or a concept cannot be used now.",
        504: "The request took too long.",
    }.items()
}
"""Error answers of every route, for the OpenAPI document."""


def refusal_of(error: BaseException, request: str = "") -> Refusal:
    """Any exception as a refusal; what is unexpected is logged and told as nothing but the request's name."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError | ValidationError):
        return _invalid(error.errors())
    if isinstance(error, Busy):
        return Refusal(429, "server_busy", str(error), retry_after=error.retry_after)
    if isinstance(error, RequestError):
        return wrong("invalid_request", str(error))
    if isinstance(error, TimedOut):
        return Refusal(504, "deadline_exceeded", str(error))
    if isinstance(error, Unavailable):
        return Refusal(503, "concept_unavailable", str(error))
    if isinstance(error, StorageError):
        log.error("request %s: %s", request, error)
        return Refusal(503, "unavailable", f"a file of this request cannot be reached now ({request})", retry_after=5)
    if isinstance(error, HTTPException):
        code = CODES.get(error.status_code, "invalid_request")
        status = 400 if error.status_code == 422 else error.status_code
        return Refusal(status, code, str(error.detail)[:300])
    if isinstance(error, UniCTokensError):
        log.error("request %s: %s", request, error)
    else:
        log.error("request %s failed", request, exc_info=error)
    return Refusal(500, "server_error", f"the server failed at this request ({request}): tell the operator its name")


def _invalid(errors: Any) -> Refusal:
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    param = ".".join(place)[:200] or None
    if first["type"] == "extra_forbidden":
        return wrong("unknown_parameter", f"unknown field '{param}': remove it", param)
    if first["type"] == "missing":
        return wrong("missing_parameter", f"the field '{param}' is missing", param)
    if first["type"] == "json_invalid":
        return wrong("invalid_json", "the body is not valid JSON")
    rule = first["msg"].removeprefix("Value error, ")
    return wrong("invalid_parameter", f"'{param}': {rule[:1].lower()}{rule[1:300]}", param)


def response(refusal: Refusal) -> tuple[dict[str, Any], dict[str, Any]]:
    """A refusal as ASGI messages."""
    # ASCII: an error may quote a lone surrogate, which UTF-8 cannot say.
    body = json.dumps(refusal.body, ensure_ascii=True).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in extra_headers(refusal).items()]
    start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
    return start, {"type": "http.response.body", "body": body, "more_body": False}


def extra_headers(refusal: Refusal) -> dict[str, str]:
    """What a refusal says beside its body."""
    headers: dict[str, str] = {}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status in (408, 413):
        headers["Connection"] = "close"
    return headers


async def answer_error(request: Request, error: Exception) -> Response:
    """The error answer."""
    refusal = refusal_of(error, request.state.request_name)
    body = json.dumps(refusal.body, ensure_ascii=True)
    return Response(body, refusal.status, extra_headers(refusal), "application/json")


def install(app: FastAPI) -> None:
    """Let every error of `app` become such an answer."""
    for kind in (RequestValidationError, HTTPException, UniCTokensError, Exception):
        app.add_exception_handler(kind, answer_error)
