"""From a definition as a developer writes it to a tool with an HTTP endpoint.

    {"name": "find_flights", "description": "...", "parameters": {JSON Schema},
     "endpoint": {"url": "https://...", "method": "POST", "headers": {...},
                  "auth": [{"kind": "bearer", "secret": "FLIGHTS"}], "signing_secret": "FLIGHTS_SIGNING"},
     "side_effect": "read", "timeout_s": 10, "max_concurrent": 4, "max_per_minute": 120,
     "postcondition": {"holds": "size(result.flights) > 0"},
     "owner": "travel team", "tags": ["travel"],
     "examples": [{"utterance": "...", "decision": "execute", "arguments": {...}}]}

Pure: the endpoint is not called. Where the side effect is left open, the method's meaning in HTTP (RFC 9110, 9.2)
decides: GET and HEAD read, PUT and DELETE are idempotent, POST and PATCH write.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from tools.catalogue import check_spec
from tools.errors import BadToolSpec
from tools.examples import Example, json_path
from tools.spec import (
    ApprovalRule,
    HttpBackend,
    HttpMethod,
    Owner,
    Postcondition,
    RequestLayout,
    SideEffect,
    Tag,
    ToolSpec,
)

BY_METHOD: Mapping[HttpMethod, SideEffect] = {
    "GET": SideEffect.READ,
    "HEAD": SideEffect.READ,
    "PUT": SideEffect.IDEMPOTENT,
    "DELETE": SideEffect.IDEMPOTENT,
    "POST": SideEffect.WRITE,
    "PATCH": SideEffect.WRITE,
}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OURS = frozenset(
    {
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "idempotency-key",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
)


_LIMITS = {"timeout_s", "max_result_bytes", "max_concurrent", "max_per_minute"}


class _Endpoint(HttpBackend):
    @field_validator("method", mode="before")
    @classmethod
    def _upper(cls, method: Any) -> Any:
        return method.upper() if isinstance(method, str) else method

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        if any(not character.isprintable() or character.isspace() for character in url):
            raise ValueError("holds white space or control characters; percent-encode them")
        if "{" in url or "}" in url:
            raise ValueError("has a placeholder; every argument goes in the body or the query, so give a fixed address")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no HTTP address; write it as https://host/path")
        _ = parts.port  # urlsplit looks at the port only when asked, and raises ValueError when it is out of range
        return url

    @field_validator("layout")
    @classmethod
    def _none(cls, layout: RequestLayout | None) -> None:
        if layout is not None:
            raise ValueError("comes from an OpenAPI description only; here the method says where arguments go")

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no header name")
            if name.lower() in OURS:
                raise ValueError(f"{name!r} is set for each call; leave it out")
            if not value.isascii() or not value.isprintable():
                raise ValueError(f"the value of {name!r} holds characters that a header cannot carry")
        return headers


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    description: str = ""
    parameters: dict[str, Any]
    endpoint: _Endpoint
    side_effect: SideEffect | None = None
    approval: ApprovalRule = ApprovalRule.BY_EFFECT
    timeout_s: float | None = None
    max_result_bytes: int | None = None
    max_concurrent: int | None = None
    max_per_minute: int | None = None
    never_train: bool | None = None
    postcondition: Postcondition | None = None
    owner: Owner | None = None
    tags: tuple[Tag, ...] = ()
    examples: tuple[Example, ...] = ()


def http_tool(definition: Mapping[str, Any]) -> ToolSpec:
    """Raises: BadToolSpec: naming the field at fault."""
    try:
        given = _Definition.model_validate(dict(definition))
        limits = given.model_dump(include=_LIMITS, exclude_none=True)
        spec = ToolSpec(
            name=given.name,
            description=given.description,
            parameters=given.parameters,
            backend=HttpBackend(**given.endpoint.model_dump()),
            side_effect=given.side_effect or BY_METHOD[given.endpoint.method],
            approval=given.approval,
            never_train=given.never_train,
            postcondition=given.postcondition,
            owner=given.owner,
            tags=given.tags,
            examples=given.examples,
            **limits,
        )
    except ValidationError as e:
        raise BadToolSpec(_first_fault(e, definition)) from e
    check_spec(spec)
    return spec


def _first_fault(error: ValidationError, definition: Mapping[str, Any]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    field = json_path(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    name = definition.get("name")
    known = ", ".join(_Definition.model_fields)
    hint = f"; the fields are: {known}" if first["type"] == "extra_forbidden" and len(first["loc"]) == 1 else ""
    return f"tool {name!r}: {field}: {message}{hint}"
