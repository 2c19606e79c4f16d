"""A policy server that answers at once: the model behind every server of the measurement. `python -m bench.serving.stub`

It speaks OpenAI's chat completions and what hone asks of vLLM (`/v1/completions` with token ids). Who asks for a turn with a tool
gets a call of `calculate` first and an answer once the call is in the prompt. Plain ASGI, so that it costs as little as it can.

Writes its port on the first line.
"""

import asyncio
import json
import socket
from typing import Any

import uvicorn

from runtime.decision import CALL_OPEN, Execute, ToolCall, write_decision
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL

ANSWER = "It is 42."
CALL = ToolCall(name="calculate", arguments={"expression": "6*7"})
WITH_TOOL = "multiply"
"""A user's text with this word gets a call."""
MODEL = "stub"


class Stub:
    def __init__(self) -> None:
        tokenizer = Renderer.load(STARTER_MODEL).tokenizer
        self._opens = tokenizer.convert_tokens_to_ids(CALL_OPEN)
        self._wants = tuple(tokenizer.encode(f" {WITH_TOOL}", add_special_tokens=False))
        end = tokenizer.eos_token_id
        self._answer = self._completion(ANSWER, [*tokenizer.encode(ANSWER, add_special_tokens=False), end])
        call = write_decision(Execute(calls=(CALL,)))
        self._call = self._completion(call, [*tokenizer.encode(call, add_special_tokens=False), end])

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = self._respond(scope["path"], body)
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": answer})

    def _respond(self, path: str, body: bytes) -> bytes:
        if path.endswith("/chat/completions"):
            return self._chat(json.loads(body))
        if path.endswith("/completions"):
            prompt = json.loads(body)["prompt"]
            return self._call if self._opens not in prompt and self._has(prompt) else self._answer
        card = {"id": MODEL, "object": "model", "root": str(STARTER_MODEL), "parent": None, "max_model_len": 4096}
        return json.dumps({"object": "list", "data": [card]}).encode()

    def _has(self, prompt: list[int]) -> bool:
        first, size = self._wants[0], len(self._wants)
        return any(tuple(prompt[i : i + size]) == self._wants for i, token in enumerate(prompt) if token == first)

    def _chat(self, request: dict[str, Any]) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": ANSWER}
        last = request["messages"][-1]
        if last["role"] == "user" and WITH_TOOL in str(last["content"]) and request.get("tools"):
            function = {"name": CALL.name, "arguments": json.dumps(CALL.arguments)}
            message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        finish = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL}
        return json.dumps({**whole, "choices": [choice], "usage": usage}).encode()

    @staticmethod
    def _completion(text: str, token_ids: list[int]) -> bytes:
        logprobs = {"token_logprobs": [0.0] * len(token_ids)}
        choice = {"index": 0, "text": text, "token_ids": token_ids, "logprobs": logprobs, "finish_reason": "stop"}
        whole = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL}
        return json.dumps({**whole, "choices": [choice]}).encode()


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sets it on sockets of its own alone
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(Stub(), log_level="error", lifespan="off")
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main())
