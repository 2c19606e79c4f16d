"""What LiteLLM makes of a server: runs its ways once, in order, and prints what came as JSON.

    python litellm_client.py URL

The server's policy is told beforehand what to say, see tests/runtime/test_litellm.py.
"""

# pyright: reportMissingImports=false
import json
import sys
from typing import Any

import litellm

FORECAST = {
    "type": "function",
    "function": {
        "name": "forecast",
        "description": "Forecast.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def main(url: str) -> dict[str, Any]:
    usual: dict[str, Any] = {"model": "openai/hone", "api_base": f"{url}/v1", "api_key": "none", "num_retries": 0}
    found: dict[str, Any] = {}

    said = litellm.completion(messages=user("hello"), **usual)
    found["chat"] = {"text": said.choices[0].message.content, "counted": said.usage.total_tokens > 0}

    chunks = list(litellm.completion(messages=user("hello"), stream=True, **usual))
    found["stream"] = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    messages: list[Any] = user("forecast for Oslo")
    called = litellm.completion(messages=messages, tools=[FORECAST], **usual).choices[0]
    messages.append(called.message)
    for call in called.message.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "rain at noon"})
    answered = litellm.completion(messages=messages, tools=[FORECAST], **usual)
    found["loop"] = [called.finish_reason, answered.choices[0].message.content]

    chunks = list(litellm.completion(messages=user("forecast"), tools=[FORECAST], stream=True, **usual))
    rebuilt = litellm.stream_chunk_builder(chunks)
    found["streamed_call"] = json.loads(rebuilt.choices[0].message.tool_calls[0].function.arguments)

    found["errors"] = [
        failure(lambda: litellm.completion(messages=user("hi"), **{**usual, "model": "openai/gpt-9"})),
        failure(lambda: litellm.completion(messages=user("hi"), n=2, **usual)),
    ]

    response = litellm.responses(input="hello", **without_retries(usual))
    found["response"] = response.output[0].content[0].text
    events = list(litellm.responses(input="hello", stream=True, **without_retries(usual)))
    found["response_stream"] = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    return found


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def without_retries(usual: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in usual.items() if key != "num_retries"}


def failure(call: Any) -> str:
    try:
        call()
    except Exception as e:  # its class is what is asked for
        return type(e).__name__
    return "none"


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
