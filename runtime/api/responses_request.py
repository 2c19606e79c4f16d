"""OpenAI's Responses request, as far as hone serves it, and how it becomes a `TurnRequest`.

The same rule as for chat: what would change the answer and cannot be honoured is refused by name.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from runtime.agent.messages import Message
from runtime.agent.threads import PastTurn
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
    never,
    refuse_unsupported,
)
from runtime.errors import BadRequest
from runtime.policy.base import SamplingParams
from runtime.settings import Settings

MOST_METADATA = 16


class Part(Shape):
    type: Literal["input_text", "output_text", "text", "refusal"]
    text: Text | None = None
    refusal: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Part":
        wanted = "refusal" if self.type == "refusal" else "text"
        if getattr(self, wanted) is None:
            raise ValueError(f"a part of type {self.type} has the field {wanted}")
        return self


class SaidItem(Shape):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Text | list[Part]


class CallItem(Shape):
    type: Literal["function_call"]
    call_id: Text
    name: Text
    arguments: Text
    """A JSON object as text."""


class ResultItem(Shape):
    type: Literal["function_call_output"]
    call_id: Text
    output: Text | list[Part]


class ReasoningItem(Shape):
    """What other models thought aloud: some clients send it back; it means nothing here."""

    type: Literal["reasoning"]


class _AnyItem(Shape):
    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"


Item: TypeAlias = SaidItem | CallItem | ResultItem | ReasoningItem

_SHAPES: Mapping[str, type[Item]] = {
    "message": SaidItem,
    "function_call": CallItem,
    "function_call_output": ResultItem,
    "reasoning": ReasoningItem,
}


def _item(value: Any) -> Item:
    """By its type alone, so that an error names the field of the item that was meant."""
    return _SHAPES[_AnyItem.model_validate(value).type].model_validate(value)


class FunctionTool(Shape):
    type: Literal["function"]
    name: Text
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @property
    def function(self) -> OfferedFunction:
        return OfferedFunction(name=self.name, description=self.description, parameters=self.parameters)


class TextFormat(Shape):
    type: Literal["text"] = "text"


class TextSettings(Shape):
    format: TextFormat | None = None


def _is_told_back(metadata: Metadata) -> Metadata:
    """Metadata comes back with the response, so it is held to OpenAI's bounds."""
    pairs = metadata.model_dump(exclude_none=True)
    if len(pairs) > MOST_METADATA:
        raise ValueError(f"{len(pairs)} keys: the most are {MOST_METADATA}")
    for key, value in pairs.items():
        if not isinstance(value, str) or len(key) > 64 or len(value) > 512:
            raise ValueError("keys are texts of up to 64 characters, values texts of up to 512")
        try:
            f"{key}{value}".encode()
        except UnicodeEncodeError as e:
            raise ValueError("holds a broken character (a lone surrogate)") from e
    return metadata


class ResponsesRequest(Shape):
    model: Text = LIVE
    input: Text | Annotated[list[Annotated[Any, PlainValidator(_item)]], Field(min_length=1)]
    instructions: Text | None = None
    previous_response_id: Text | None = None
    stream: bool | None = None
    store: bool | None = None
    """False: the response cannot be asked for again, or be gone on from by its id."""
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: TextSettings | None = None
    metadata: Annotated[Metadata, AfterValidator(_is_told_back)] | None = None
    user: Any = None
    """As in chat."""

    parallel_tool_calls: bool | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    truncation: str | None = None
    max_tool_calls: int | None = None
    top_logprobs: int | None = None
    include: list[Text] | None = None
    context_management: Any = None
    moderation: Any = None

    @property
    def is_kept(self) -> bool:
        return self.store is not False


REFUSED: Mapping[str, Refused] = {
    "tool_choice": NO_FORCED_CALL,
    "parallel_tool_calls": NO_SINGLE_CALL,
    "background": Refused(is_empty, "a response is given while the request waits; leave it out"),
    "conversation": Refused(never, "not kept as an object; send previous_response_id, or metadata.thread"),
    "prompt": Refused(never, "no prompt templates are kept; send instructions"),
    "truncation": Refused(
        lambda value: value == "auto", "the oldest messages are left out where not all fit; send 'auto'"
    ),
    "max_tool_calls": Refused(never, "not bounded by request; the server's max_steps bounds a turn"),
    "top_logprobs": NO_LOGPROBS,
    "include": Refused(lambda value: "message.output_text.logprobs" not in value, NO_LOGPROBS.why),
    "context_management": Refused(is_empty, "not supported; leave it out"),
    "moderation": Refused(never, "not supported; leave it out"),
}


def turn_request(
    asked: ResponsesRequest, settings: Settings, header_thread: str | None, after: PastTurn | None
) -> TurnRequest:
    """
    Args: after: the turn of `previous_response_id`.

    Raises: BadRequest: naming the field that cannot be served.
    """
    refuse_unsupported(asked, REFUSED)
    thread = (asked.metadata.thread if asked.metadata else None) or header_thread
    if after is not None and thread is not None and thread != after.thread_id:
        raise BadRequest(
            f"previous_response_id: that response belongs to thread {after.thread_id!r}, not to {thread!r}; name one of them",
            param="previous_response_id",
        )
    params = SamplingParams(
        max_tokens=asked.max_output_tokens or settings.max_tokens,
        temperature=settings.temperature if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
    )
    return TurnRequest(
        messages=_messages(asked.input),
        params=params,
        model=asked.model,
        thread=thread,
        after=after,
        when_busy=asked.metadata.when_busy if asked.metadata else None,
        instructions=asked.instructions,
        only_tools=asked.metadata.tool_names if asked.metadata else None,
        client_tools=client_tools([(f"tools.{i}", tool.function) for i, tool in enumerate(asked.tools)])
        if asked.tools
        else None,
        show_tools=asked.tool_choice != "none",
        # after the tools, which are held to a depth that can be written
        echo=json.dumps(echo(asked, params), ensure_ascii=False) if asked.is_kept else None,
    )


def echo(asked: ResponsesRequest, params: SamplingParams) -> dict[str, Any]:
    """What the response says of its request."""
    return {
        "model": asked.model,
        "instructions": asked.instructions,
        "metadata": asked.metadata.model_dump(exclude_none=True) if asked.metadata else {},
        "previous_response_id": asked.previous_response_id,
        "store": asked.is_kept,
        "max_output_tokens": asked.max_output_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "tools": [tool.model_dump() for tool in asked.tools or ()],
        "tool_choice": asked.tool_choice or "auto",
        "parallel_tool_calls": True,
        "text": {"format": {"type": "text"}},
        "truncation": "auto",
        "background": False,
    }


def _messages(given: str | Sequence[Item]) -> tuple[Message, ...]:
    if isinstance(given, str):
        return ({"role": "user", "content": given},)
    messages: list[Message] = []
    is_answer_open = False
    """Whether the last message is the assistant's and nothing has come between: calls that follow belong to it."""
    for i, item in enumerate(given):
        match item:
            case SaidItem():
                messages.append({"role": item.role, "content": _text(item.content)})
                is_answer_open = item.role == "assistant"
            case CallItem():
                if not is_answer_open:
                    messages.append({"role": "assistant", "content": ""})
                    is_answer_open = True
                messages[-1].setdefault("tool_calls", []).append(_called(item, f"input.{i}.arguments"))
            case ResultItem():
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": _text(item.output)})
                is_answer_open = False
            case ReasoningItem():
                pass
    if not messages:
        raise BadRequest("input: there is nothing to reply to", param="input")
    return tuple(messages)


def _called(item: CallItem, where: str) -> dict[str, Any]:
    arguments = call_arguments(item.arguments, where)
    return {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": arguments}}


def _text(content: str | Sequence[Part]) -> str:
    return content if isinstance(content, str) else "".join(part.text or part.refusal or "" for part in content)
