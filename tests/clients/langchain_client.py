"""What LangChain's `ChatOpenAI` makes of a server: runs its ways once, in order, and prints what came as JSON.

    python langchain_client.py URL

The server's policy is told beforehand what to say, see tests/runtime/test_langchain.py.
"""

# pyright: reportMissingImports=false
import json
import sys
from typing import Any

import openai
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def forecast(city: str) -> str:
    """Forecast."""
    return f"rain in {city}"


def main(url: str) -> dict[str, Any]:
    usual: dict[str, Any] = {"model": "hone", "base_url": f"{url}/v1", "api_key": "none", "max_retries": 0}
    chat = ChatOpenAI(**usual, stream_usage=True)
    found: dict[str, Any] = {}

    said = chat.invoke("hello")
    found["chat"] = {
        "text": said.content,
        "finish": said.response_metadata["finish_reason"],
        "counted": said.usage_metadata["total_tokens"] > 0,
    }
    whole = added(chat.stream("hello"))
    found["stream"] = {"text": whole.content, "counted": whole.usage_metadata["total_tokens"] > 0}
    found["loop"] = loop(chat)
    found["streamed_calls"] = [
        {"name": call["name"], "args": call["args"]}
        for call in added(chat.bind_tools([forecast]).stream("forecast for Bergen")).tool_calls
    ]
    found["refusal"] = chat.invoke("fly").additional_kwargs["refusal"]
    try:
        ChatOpenAI(**usual, n=2).invoke("hi")
    except openai.BadRequestError as e:
        found["refused_field"] = e.param

    responses = ChatOpenAI(**usual, use_responses_api=True)
    said = responses.invoke("hello")
    found["response"] = {"text": said.text, "id": said.response_metadata["id"][:5]}
    whole = added(responses.stream("hello"))
    found["response_stream"] = {"text": whole.text, "counted": whole.usage_metadata["total_tokens"] > 0}
    found["response_loop"] = loop(responses)
    found["chained_loop"] = loop(ChatOpenAI(**usual, use_responses_api=True, use_previous_response_id=True))
    return found


def loop(model: ChatOpenAI) -> list[str]:
    """The words of an agent that runs its own tool once."""
    able = model.bind_tools([forecast])
    messages: list[Any] = [HumanMessage("forecast for Oslo")]
    called = able.invoke(messages)
    assert isinstance(called, AIMessage)
    messages.append(called)
    messages += [ToolMessage(forecast.invoke(call["args"]), tool_call_id=call["id"]) for call in called.tool_calls]
    return [call["name"] for call in called.tool_calls] + [able.invoke(messages).text]


def added(chunks: Any) -> Any:
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
