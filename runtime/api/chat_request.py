"""OpenAI's chat request, as far as hone serves it, and how it becomes a `TurnRequest`.

What would change the answer and cannot be honoured is refused by name; what is harmless (`user`, `store`, ...) is
passed over.
"""

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from runtime.agent.messages import Message, unsound
from runtime.agent.turns import LIVE, TurnRequest
from runtime.decision import RESERVED_TOOLS
from runtime.errors import BadRequest
from runtime.policy.base import SamplingParams
from runtime.settings import Settings
from tools.json_schema import schema_problem
from tools.spec import ClientBackend, ToolSpec

THREAD_ID = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _encodes(text: str) -> str:
    """JSON can write half of a character (a lone surrogate); nothing after it could carry that on."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise ValueError(f"holds a broken character (a lone surrogate) at position {e.start}") from e
    return text


Text: TypeAlias = Annotated[str, AfterValidator(_encodes)]


class TextPart(_Shape):
    type: Literal["text"]
    text: Text


class CalledFunction(_Shape):
    name: Text
    arguments: Text
    """A JSON object as text."""


class CalledTool(_Shape):
    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(_Shape):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[TextPart] | None = None
    refusal: Text | None = None
    name: Text | None = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: Text | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or self.refusal or ""


class OfferedFunction(_Shape):
    name: Text
    description: Text | None = None
    parameters: dict[str, Any] | None = None


class OfferedTool(_Shape):
    type: Literal["function"]
    function: OfferedFunction


class StreamOptions(_Shape):
    include_usage: bool = False


class Metadata(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    thread: str | None = Field(default=None, pattern=THREAD_ID)
    """Id of the conversation, chosen by the client or taken from an earlier reply."""
    tools: str | None = None
    """Names of registered tools with commas between; only these are shown. None: all."""


class ChatRequest(_Shape):
    model: Text = LIVE
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    tools: list[OfferedTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    metadata: Metadata | None = None

    n: int | None = None
    stop: Any = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    functions: Any = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def turn_request(chat: ChatRequest, settings: Settings, header_thread: str | None) -> TurnRequest:
    """Raises: BadRequest: naming the field that cannot be served."""
    _refuse_unsupported(chat)
    thread = chat.metadata.thread if chat.metadata else None
    return TurnRequest(
        messages=tuple(_message(message, f"messages.{i}") for i, message in enumerate(chat.messages)),
        params=SamplingParams(
            max_tokens=chat.max_completion_tokens or chat.max_tokens or settings.max_tokens,
            temperature=settings.temperature if chat.temperature is None else chat.temperature,
            top_p=1.0 if chat.top_p is None else chat.top_p,
            seed=chat.seed,
        ),
        model=chat.model,
        thread=thread or header_thread,
        only_tools=_names(chat.metadata.tools) if chat.metadata and chat.metadata.tools is not None else None,
        client_tools=_client_tools(chat.tools) if chat.tools else None,
        show_tools=chat.tool_choice != "none",
    )


def _refuse_unsupported(chat: ChatRequest) -> None:
    if chat.n not in (None, 1):
        raise BadRequest(f"n={chat.n}: one reply is given for each request; send n requests", param="n")
    if chat.stop:
        raise BadRequest("stop: stop sequences are not supported; leave it out", param="stop")
    if chat.logprobs:
        raise BadRequest("logprobs: not given in replies; the trace at /v1/traces/{id} has them", param="logprobs")
    if chat.functions:
        raise BadRequest("functions: not supported; send tools instead", param="functions")
    if chat.response_format and chat.response_format.get("type") != "text":
        raise BadRequest("response_format: only {'type': 'text'} is supported", param="response_format")
    if chat.tool_choice not in (None, "auto", "none"):
        raise BadRequest(
            f"tool_choice={chat.tool_choice!r}: a call cannot be forced; send 'auto' or 'none'", param="tool_choice"
        )


def _message(message: ChatMessage, where: str) -> Message:
    shaped: Message = {"role": message.role, "content": message.text}
    if message.tool_calls and message.role == "assistant":
        shaped["tool_calls"] = [
            _called(call, f"{where}.tool_calls.{i}.function.arguments") for i, call in enumerate(message.tool_calls)
        ]
    if message.role == "tool":
        if not message.tool_call_id:
            raise BadRequest("a tool message names the call that it answers", param=f"{where}.tool_call_id")
        shaped["tool_call_id"] = message.tool_call_id
    if message.name:
        shaped["name"] = message.name
    return shaped


def _called(call: CalledTool, where: str) -> dict[str, Any]:
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError) as e:
        raise BadRequest(f"{where}: not JSON: {e}", param=where) from e
    if not isinstance(arguments, dict):
        raise BadRequest(f"{where}: must be a JSON object", param=where)
    problem = unsound(arguments)
    if problem is not None:
        raise BadRequest(f"{where}: {problem}", param=where)
    return {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}}


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def _client_tools(offered: list[OfferedTool]) -> tuple[ToolSpec, ...]:
    specs: dict[str, ToolSpec] = {}
    for i, tool in enumerate(offered):
        where = f"tools.{i}.function"
        name, parameters = tool.function.name, tool.function.parameters or {"type": "object", "properties": {}}
        if name in RESERVED_TOOLS or name in specs:
            why = "the name is reserved" if name in RESERVED_TOOLS else "two tools have this name"
            raise BadRequest(f"{where}.name: {name!r}: {why}; choose another", param=f"{where}.name")
        problem = schema_problem(parameters)
        if problem is not None:
            path = f"{where}.parameters{problem.removeprefix('$')}"
            raise BadRequest(path, param=f"{where}.parameters")
        try:
            specs[name] = ToolSpec(
                name=name,
                description=tool.function.description or "",
                parameters=parameters,
                backend=ClientBackend(),
            )
        except ValidationError as e:
            first = e.errors()[0]
            raise BadRequest(f"{where}.{first['loc'][0]}: {first['msg']}", param=where) from e
    return tuple(specs.values())
