"""OpenAI's chat request, as far as hone serves it, and how it becomes a `TurnRequest`.

What would change the answer and cannot be honoured is refused by name; what is harmless (`user`, `store`, ...) is
passed over, and so is what is meant for the server behind (`chat_template`, `guided_json`, ...). docs/openai-compatibility.md
lists them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from runtime.agent.messages import Message
from runtime.agent.turn_request import LIVE, TurnRequest
from runtime.api.request_shapes import (
    NO_FORCED_CALL,
    NO_LOGPROBS,
    NO_SINGLE_CALL,
    Metadata,
    OfferedFunction,
    Refused,
    Shape,
    Text,
    call_arguments,
    client_tools,
    is_empty,
    is_usual_choice,
    never,
    refuse_unsupported,
)
from runtime.errors import BadRequest
from runtime.policy.base import SamplingParams
from runtime.settings import Settings


class TextPart(Shape):
    type: Literal["text"]
    text: Text


class CalledFunction(Shape):
    name: Text
    arguments: Text
    """A JSON object as text."""


class CalledTool(Shape):
    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Shape):
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


class OfferedTool(Shape):
    type: Literal["function"]
    function: OfferedFunction


class StreamOptions(Shape):
    include_usage: bool = False


class ChatRequest(Shape):
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
    user: Any = None
    """Whom the request is for; counts where the key may act for others."""

    parallel_tool_calls: bool | None = None
    n: int | None = None
    stop: Any = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Any = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    functions: Any = None
    function_call: Any = None
    modalities: Any = None
    audio: Any = None
    web_search_options: Any = None
    moderation: Any = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


REFUSED: Mapping[str, Refused] = {
    "n": Refused(lambda n: n == 1, "one reply is given for each request, for it may have acted; send n requests"),
    "stop": Refused(is_empty, "stop sequences are not supported, for they would cut decisions; leave it out"),
    "response_format": Refused(
        lambda value: value == {} or value.get("type") == "text", "only {'type': 'text'} is supported"
    ),
    "tool_choice": NO_FORCED_CALL,
    "parallel_tool_calls": NO_SINGLE_CALL,
    "logprobs": NO_LOGPROBS,
    "top_logprobs": NO_LOGPROBS,
    "logit_bias": Refused(is_empty, "not supported; leave it out"),
    "frequency_penalty": Refused(is_empty, "not supported; leave it out"),
    "presence_penalty": Refused(is_empty, "not supported; leave it out"),
    "functions": Refused(is_empty, "not supported; send tools instead"),
    "function_call": Refused(is_usual_choice, "not supported; send tools instead"),
    "modalities": Refused(lambda value: value == ["text"], "only ['text'] is supported"),
    "audio": Refused(is_empty, "replies are text; leave it out"),
    "web_search_options": Refused(never, "no web search is built in; register a tool that searches"),
    "moderation": Refused(never, "not supported; leave it out"),
}


def turn_request(chat: ChatRequest, settings: Settings, header_thread: str | None) -> TurnRequest:
    """Raises: BadRequest: naming the field that cannot be served."""
    refuse_unsupported(chat, REFUSED)
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
        when_busy=chat.metadata.when_busy if chat.metadata else None,
        only_tools=chat.metadata.tool_names if chat.metadata else None,
        client_tools=client_tools([(f"tools.{i}.function", tool.function) for i, tool in enumerate(chat.tools)])
        if chat.tools
        else None,
        show_tools=chat.tool_choice != "none",
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
    arguments = call_arguments(call.function.arguments, where)
    return {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}}
