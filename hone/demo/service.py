"""The demo's third party: a city's services over HTTP, a FastAPI application that knows nothing of hone.

Its operations are those of `scenes/`. Its answers follow from the arguments alone, so that every run sees the same world; some
requests fail, as in life.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Body, FastAPI, HTTPException
from jsonschema import Draft202012Validator

from hone.demo.scenes import Operation

_NOT_FOUND, _UNAVAILABLE = 30, 60
"""One request in so many fails."""


def _number(text: str, low: int, high: int) -> int:
    """A number that the text decides, low to high."""
    return low + int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % (high - low + 1)


def _answer(operation: Operation, arguments: dict[str, Any]) -> dict[str, Any]:
    asked = json.dumps(arguments, sort_keys=True).lower()
    if _number(asked + "found", 1, _NOT_FOUND) == 1:
        raise HTTPException(404, f"there is none with {', '.join(f'{k} {v}' for k, v in arguments.items())}")
    if _number(asked + "open", 1, _UNAVAILABLE) == 1:
        raise HTTPException(503, "the office does not answer")
    answer: dict[str, Any] = {}
    for field, values in operation.answer.items():
        first, last = values[0], values[-1]
        if isinstance(first, int) and isinstance(last, int):
            answer[field] = _number(asked + field, first, last)
        else:
            answer[field] = values[_number(asked + field, 0, len(values) - 1)]
    return answer


def _endpoint(operation: Operation) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]:
    validator = Draft202012Validator(operation.json_schema)

    async def serve(arguments: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008 (how FastAPI is told)
        if errors := [e.message for e in validator.iter_errors(arguments)]:
            raise HTTPException(422, "; ".join(errors))
        return _answer(operation, arguments)

    return serve


def build_service(operations: dict[str, Operation]) -> FastAPI:
    """One POST endpoint for each operation, under its name."""
    service = FastAPI(title="City services")
    for name, operation in operations.items():
        service.post(f"/{name}", summary=operation.description)(_endpoint(operation))
    return service


def definition(base_url: str, name: str, operation: Operation, *, never_train: bool) -> dict[str, Any]:
    """How the service's developer registers an operation: JSON schema and endpoint."""
    return {
        "name": name,
        "description": operation.description,
        "parameters": operation.json_schema,
        "endpoint": {"url": f"{base_url}/{name}", "method": "POST"},
        "side_effect": operation.side_effect,
        "approval": "waived",
        "never_train": never_train,
    }
