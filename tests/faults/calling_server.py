"""A whole hone server for the fault tests, whose policy does what the user's message says.

`call TOOL N` makes it call TOOL with `{"n": N}`, once for each time that the message says so, one after the other; then it answers.
Started from a fork server that has imported
everything already, so that it is up in a fraction of a second, and is a real process that can really be killed.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from runtime.app import create_app
from runtime.decision import Execute, ToolCall, write_decision
from runtime.policy.base import Completion, SamplingParams
from runtime.prompt import Prompt, Renderer
from runtime.settings import Settings

_ASKED = re.compile(r"call (\w+) (\d+)")


class PlainTokenizer:
    """A token for each character."""

    def encode(self, text: str, **options: Any) -> list[int]:
        return [ord(character) for character in text]


class PlainRenderer(Renderer):
    """The number of results so far and the user's last message are the prompt."""

    def __init__(self) -> None:
        super().__init__(PlainTokenizer(), constrained=False)

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> Prompt:
        asked = max(i for i, message in enumerate(messages) if message["role"] == "user")
        results = sum(message["role"] == "tool" for message in messages[asked:])
        text = f"{results} {messages[asked]['content']}"
        return Prompt(text=text, token_ids=tuple(self.tokenizer.encode(text)))

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(map(chr, token_ids))


class ObeyingPolicy:
    """Calls what the user names."""

    model = "obeying"
    context_length = 100_000

    async def sample(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, adapter: str | None = None
    ) -> Completion:
        text = _answer("".join(map(chr, prompt_ids)))
        token_ids = tuple(map(ord, text))
        return Completion(text, token_ids, (0.0,) * len(token_ids), "stop", adapter)

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], **options: Any
    ) -> tuple[float, ...]:
        return (0.0,) * len(completion_ids)

    async def load_adapter(self, name: str, path: Path) -> None:
        raise NotImplementedError("no adapter is published in these tests")

    async def unload_adapter(self, name: str) -> None:
        raise NotImplementedError("no adapter is published in these tests")

    async def adapters(self) -> frozenset[str]:
        return frozenset()

    async def close(self) -> None:
        pass


def _answer(prompt: str) -> str:
    results, _, asked = prompt.partition(" ")
    wanted = _ASKED.findall(asked)[int(results) :]
    if not wanted:
        return "Done."
    tool, number = wanted[0]
    return write_decision(Execute(calls=(ToolCall(name=tool, arguments={"n": int(number)}),)))


def serve(home: Path, port: int, variables: Mapping[str, str], **settings: Any) -> None:
    """The process; ends when it is killed or told to. Args: variables: of its environment, beside the fork server's."""
    os.environ.update(variables)
    usual = {
        "builtin_tools": False,
        "allowed_networks": ("127.0.0.1",),
        "retrieval": "words",
        "approvals_waived": ("*",),
        "trusted_tools": ("*",),
        "log_level": "error",
    }
    chosen = Settings(home=home, **{**usual, **settings})
    app = create_app(chosen, policy=ObeyingPolicy(), renderer=PlainRenderer())
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")
