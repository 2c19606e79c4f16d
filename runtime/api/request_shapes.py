"""What requests of OpenAI's two APIs have in common: text, metadata, tools of the client, and fields that are refused."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from runtime.agent.messages import unsound
from runtime.agent.turn_request import WhenBusy
from runtime.decision import RESERVED_TOOLS
from runtime.errors import BadRequest
from tools.json_schema import schema_problem
from tools.spec import ClientBackend, ToolSpec

THREAD_ID = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"


class Shape(BaseModel):
    """Takes no value of another type for the one that it wants; fields that it does not name go no further."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


def _encodes(text: str) -> str:
    """JSON can write half of a character (a lone surrogate); nothing after it could carry that on."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise ValueError(f"holds a broken character (a lone surrogate) at position {e.start}") from e
    return text


Text: TypeAlias = Annotated[str, AfterValidator(_encodes)]


class Metadata(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    thread: str | None = Field(default=None, pattern=THREAD_ID)
    """Id of the conversation, chosen by the client or taken from an earlier reply."""
    tools: Text | None = None
    """Names of registered tools with commas between; only these are shown. None: all."""

    when_busy: WhenBusy | None = Field(default=None, strict=False)
    """What to do where a turn runs in the thread; None: as the server is set."""

    @property
    def tool_names(self) -> tuple[str, ...] | None:
        if self.tools is None:
            return None
        return tuple(name.strip() for name in self.tools.split(",") if name.strip())


class OfferedFunction(Shape):
    """A tool that the client runs."""

    name: Text
    description: Text | None = None
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A field that is taken only where it says what happens anyway: anything else would change the meaning."""

    is_harmless: Callable[[Any], bool]
    """Of a value other than null."""
    why: str
    """And what to do instead."""


def is_empty(value: Any) -> bool:
    """False, zero, or holding nothing."""
    return not value


def never(value: Any) -> bool:
    return False


def refuse_unsupported(request: BaseModel, refused: Mapping[str, Refused]) -> None:
    """Raises: BadRequest: for the first of the fields that holds what cannot be honoured."""
    for field, rule in refused.items():
        value = getattr(request, field)
        if value is not None and not rule.is_harmless(value):
            raise BadRequest(f"{field}: {rule.why}", param=field)


def is_usual_choice(value: Any) -> bool:
    return value in ("auto", "none")


NO_FORCED_CALL = Refused(is_usual_choice, "a call cannot be forced; send 'auto' or 'none'")
NO_SINGLE_CALL = Refused(
    lambda value: value is True, "several calls may come of one decision; leave it out, and run them one by one"
)
NO_LOGPROBS = Refused(is_empty, "not given in replies; the trace at /v1/traces/{id} has them")


def call_arguments(text: str, where: str) -> dict[str, Any]:
    """The arguments of a call that the client sends back. Raises: BadRequest: naming `where`."""
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError) as e:
        raise BadRequest(f"{where}: not JSON: {e}", param=where) from e
    if not isinstance(arguments, dict):
        raise BadRequest(f"{where}: must be a JSON object", param=where)
    problem = unsound(arguments)
    if problem is not None:
        raise BadRequest(f"{where}: {problem}", param=where)
    return arguments


def client_tools(offered: Sequence[tuple[str, OfferedFunction]]) -> tuple[ToolSpec, ...]:
    """The client's tools.

    Args: offered: each with the path of the request at which it stands.

    Raises: BadRequest: naming the one that cannot be shown.
    """
    specs: dict[str, ToolSpec] = {}
    for where, function in offered:
        name, parameters = function.name, function.parameters or {"type": "object", "properties": {}}
        if name in RESERVED_TOOLS or name in specs:
            why = "the name is reserved" if name in RESERVED_TOOLS else "two tools have this name"
            raise BadRequest(f"{where}.name: {name!r}: {why}; choose another", param=f"{where}.name")
        problem = _unwritable(parameters)
        if problem is not None:
            raise BadRequest(f"{where}.parameters: {problem}", param=f"{where}.parameters")
        problem = schema_problem(parameters)
        if problem is not None:
            path = f"{where}.parameters{problem.removeprefix('$')}"
            raise BadRequest(path, param=f"{where}.parameters")
        try:
            specs[name] = ToolSpec(
                name=name, description=function.description or "", parameters=parameters, backend=ClientBackend()
            )
        except ValidationError as e:
            first = e.errors()[0]
            raise BadRequest(f"{where}.{first['loc'][0]}: {first['msg']}", param=where) from e
    return tuple(specs.values())


def _unwritable(value: Any) -> str | None:
    """Why a value could not be written as JSON in UTF-8; None: it can."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as e:
        return f"holds a value that JSON cannot carry: {e}"
    return None
