"""What the endpoint says no to: an HTTP status and one line, in the shape that OpenAI's clients understand."""

from typing import Any

from unictokens.errors import UniCTokensError

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    499: "client_error",
    500: "server_error",
    503: "unavailable_error",
    504: "timeout_error",
}
"""Status to the `type` of the error body."""


class Refusal(UniCTokensError):
    """A request that is answered with `status` and an error body; `param` names the field, `retry_after` is in seconds."""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(status, code, message, param, retry_after)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> dict[str, Any]:
        """`{"error": {"message", "type", "param", "code"}}`."""
        kind = KINDS.get(self.status, "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def wrong(code: str, message: str, param: str | None = None) -> Refusal:
    """A request that is wrong in itself (400)."""
    return Refusal(400, code, message, param)


def absent(what: str) -> Refusal:
    """404 for what is not there or not the caller's: the same words for both, so that they cannot be told apart."""
    return Refusal(404, "not_found", f"there is no such {what} in your namespace")
