"""One table from our errors to HTTP, and OpenAI's envelope around them.

Every error body, whatever the route, is `{"error": {"message", "type", "param", "code"}}`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from runtime.errors import (
    AdapterRejected,
    ApprovalExpired,
    ApprovalNotFound,
    ApprovalSpent,
    BadRequest,
    Forbidden,
    Interrupted,
    IssuerUnavailable,
    KeyNotFound,
    KeyReused,
    KeySpent,
    Overloaded,
    PolicyUnavailable,
    PromptTooLong,
    RateLimited,
    ResponseNotFound,
    RuntimeFault,
    Stopping,
    StoreError,
    SystemPromptNotFound,
    ThreadBusy,
    ThreadNotFound,
    TraceNotFound,
    TurnCutOff,
    TurnFailed,
    TurnTooLong,
    Unauthenticated,
    UnknownAdapter,
    UnknownModel,
)
from tools.errors import (
    BadImport,
    BadMasterKey,
    BadSecret,
    BadToolSpec,
    CallNotFound,
    CallNotUnknown,
    DestinationRefused,
    DuplicateTool,
    ImportFailed,
    JournalUnavailable,
    NotHeld,
    SecretLocked,
    SecretOutOfBounds,
    SharedTool,
    ToolError,
    UnknownSecret,
    UnknownTool,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """How one kind of error is told."""

    status: int
    type: str
    code: str | None = None
    param: str | None = None


INVALID = "invalid_request_error"
SERVER = "server_error"
RATE = "rate_limit_error"

TABLE: Mapping[type[Exception], Answer] = {
    BadRequest: Answer(400, INVALID),
    ResponseNotFound: Answer(404, INVALID, "response_not_found"),
    PromptTooLong: Answer(400, INVALID, "context_length_exceeded", "messages"),
    UnknownAdapter: Answer(404, INVALID, "model_not_found", "model"),
    UnknownModel: Answer(404, INVALID, "model_not_found", "model"),
    AdapterRejected: Answer(409, INVALID, "adapter_rejected"),
    TraceNotFound: Answer(404, INVALID, "trace_not_found"),
    ThreadBusy: Answer(409, INVALID, "thread_busy"),
    KeyReused: Answer(422, INVALID, "idempotency_key_reused", "Idempotency-Key"),
    Interrupted: Answer(409, INVALID, "interrupted"),
    TurnCutOff: Answer(500, SERVER, "turn_cut_off"),
    TurnFailed: Answer(500, SERVER, "turn_failed"),
    SystemPromptNotFound: Answer(404, INVALID, "system_prompt_not_found"),
    ThreadNotFound: Answer(404, INVALID, "thread_not_found"),
    ApprovalNotFound: Answer(404, INVALID, "approval_not_found"),
    ApprovalSpent: Answer(409, INVALID, "approval_spent"),
    ApprovalExpired: Answer(410, INVALID, "approval_expired"),
    Unauthenticated: Answer(401, INVALID, "invalid_api_key"),
    Forbidden: Answer(403, INVALID, "insufficient_permissions"),
    IssuerUnavailable: Answer(503, SERVER, "issuer_unavailable"),
    KeyNotFound: Answer(404, INVALID, "key_not_found"),
    KeySpent: Answer(409, INVALID, "key_spent"),
    RateLimited: Answer(429, RATE, "rate_limit_exceeded"),
    Overloaded: Answer(429, RATE, "overloaded"),
    SharedTool: Answer(403, INVALID, "shared_tool"),
    BadToolSpec: Answer(400, INVALID, "bad_tool"),
    UnknownTool: Answer(404, INVALID, "tool_not_found"),
    DuplicateTool: Answer(409, INVALID, "duplicate_tool"),
    NotHeld: Answer(409, INVALID, "not_quarantined"),
    DestinationRefused: Answer(403, INVALID, "destination_refused"),
    JournalUnavailable: Answer(503, SERVER, "journal_unavailable"),
    CallNotFound: Answer(404, INVALID, "tool_call_not_found"),
    CallNotUnknown: Answer(409, INVALID, "tool_call_not_unknown"),
    BadImport: Answer(400, INVALID, "bad_import"),
    ImportFailed: Answer(502, SERVER, "import_failed"),
    BadSecret: Answer(400, INVALID, "bad_secret"),
    UnknownSecret: Answer(404, INVALID, "secret_not_found"),
    SecretOutOfBounds: Answer(403, INVALID, "secret_out_of_bounds"),
    BadMasterKey: Answer(503, SERVER, "bad_master_key"),
    SecretLocked: Answer(503, SERVER, "secrets_locked"),
    ToolError: Answer(400, INVALID),
    PolicyUnavailable: Answer(503, SERVER, "policy_unavailable"),
    TurnTooLong: Answer(504, SERVER, "turn_too_long"),
    Stopping: Answer(503, SERVER, "stopping"),
    StoreError: Answer(503, SERVER, "database_unavailable"),
    RuntimeFault: Answer(500, SERVER),
}
"""The entry of the nearest class counts."""

_OTHER = Answer(500, SERVER, "internal_error")
_BRANCH = re.compile(r"^(str|int|float|bool|none|(list|dict|function-[a-z]+)\[.*\])$")
"""Names that pydantic adds to a location to say which branch of a union it tried."""


def answer_to(error: BaseException) -> Answer:
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), _OTHER)


def envelope(error: BaseException, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The body for an error; one that is not ours says nothing of its cause.

    Args: names: how a route calls a field that is at fault, where that is not what the table calls it.
    """
    answer = answer_to(error)
    message = str(error) if answer is not _OTHER else "hone failed on this request; the server's log says more"
    param = error.param if isinstance(error, BadRequest) else answer.param
    return _body(message, answer.type, (names or {}).get(param or "", param), answer.code)


def response_to(
    error: BaseException, headers: Mapping[str, str] | None = None, names: Mapping[str, str] | None = None
) -> JSONResponse:
    """Says whether the same request may be sent again: OpenAI's clients do so unasked after a 409 and a 5xx."""
    answer = answer_to(error)
    headers = {"x-should-retry": "true" if answer.status in (429, 503) else "false", **(headers or {})}
    if answer.status == 503:
        headers = {"retry-after": "1", **headers}
    if answer.status == 401:
        headers = {"www-authenticate": "Bearer", **headers}
    if isinstance(error, RateLimited):
        # both names, since OpenAI's clients read the finer one first
        pause = {"retry-after": str(math.ceil(error.retry_s)), "retry-after-ms": str(math.ceil(error.retry_s * 1000))}
        headers = {**error.told, **pause, **headers}
    return JSONResponse(envelope(error, names), status_code=answer.status, headers=headers)


def install(app: FastAPI) -> None:
    """Registers the handlers."""
    app.add_exception_handler(RequestValidationError, _on_bad_input)
    app.add_exception_handler(HTTPException, _on_http)
    for kind in (RuntimeFault, ToolError):
        app.add_exception_handler(kind, _on_ours)


async def _on_ours(request: Request, error: Exception) -> JSONResponse:
    return response_to(error)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # registered for nothing else
    message = f"{request.method} {request.url.path}: {error.detail}"
    kind = INVALID if error.status_code < 500 else SERVER
    return JSONResponse(
        _body(message, kind, None, None), status_code=error.status_code, headers=dict(error.headers or {})
    )


async def _on_bad_input(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # registered for nothing else
    first = _nearest(error.errors())
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return JSONResponse(_body(f"the body is not JSON: {reason}", INVALID, None, "invalid_json"), status_code=400)
    parts = [str(part) for part in first["loc"]]
    if parts[:1] == ["body"] and len(parts) == 1:
        message = "the body must be a JSON object, sent with the header content-type: application/json"
        return JSONResponse(_body(message, INVALID, None, None), status_code=400)
    param = ".".join(_field(first))
    message = first["msg"].removeprefix("Value error, ")
    return JSONResponse(_body(f"{param}: {message}", INVALID, param, None), status_code=400)


def _nearest(errors: Sequence[Any]) -> Any:
    """The first error; where it is one branch of a union, the branch that came furthest, for that one was meant."""
    field = _field(errors[0])
    return max((e for e in errors if _field(e)[: len(field)] == field), key=lambda e: len(_field(e)))


def _field(error: Any) -> list[str]:
    return [part for part in map(str, error["loc"][1:]) if not _BRANCH.match(part)]


def _body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    # A message may quote what the client sent, and that may hold what UTF-8 cannot.
    text = message.encode("utf-8", "replace").decode("utf-8")
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}
