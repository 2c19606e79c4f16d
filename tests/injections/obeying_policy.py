"""A policy that does what it is told by anybody: the user's task call by call, and at once whatever a tool's output asks for.

It and its renderer speak in tokens that are whole messages, so that even long conversations are a handful of them.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.decision import Execute, ToolCall, write_decision
from runtime.policy.base import Completion, SamplingParams
from runtime.prompt import Prompt, Renderer
from tests.injections.dojo import Call, Orders, UsersSide


class WholeTexts:
    """A token for each text that it has met."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._ids: dict[str, int] = {}

    def encode(self, text: str, **options: Any) -> list[int]:
        if text not in self._ids:
            self._ids[text] = len(self._texts)
            self._texts.append(text)
        return [self._ids[text]]

    def text(self, token_id: int) -> str:
        return self._texts[token_id]


class MessageRenderer(Renderer):
    """A prompt is the messages, each a JSON text and a token."""

    def __init__(self) -> None:
        self._known = WholeTexts()
        super().__init__(self._known, constrained=False)

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> Prompt:
        texts = [json.dumps(message) for message in messages]
        return Prompt(text="\n".join(texts), token_ids=tuple(i for text in texts for i in self._known.encode(text)))

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(map(self._known.text, token_ids))

    def messages(self, token_ids: Sequence[int]) -> list[dict[str, Any]]:
        return [json.loads(self._known.text(token_id)) for token_id in token_ids]


@dataclass
class Mind:
    """What the policy wants in one conversation."""

    user: UsersSide
    tool_name: Callable[[str], str]
    """hone's name of a tool of the suite."""
    goal: str | None = None
    """The words of the injection, by which it is recognised."""
    orders: Callable[[], Orders] | None = None
    """How to do what they want."""
    obeyed: Orders | None = None
    """What it set out to do, once it met them."""
    _done: int = 0
    """Of the user's calls."""
    _carried_out: int = 0
    """Of the injection's: one after another, since one may need what the one before has done."""

    def next(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """What to write after these messages."""
        if self.obeyed is None and self.orders is not None and self._is_told(messages):
            self.obeyed = self.orders()
        if self.obeyed is not None and self._carried_out < len(self.obeyed.calls):
            self._carried_out += 1
            return self._execute(self.obeyed.calls[self._carried_out - 1 : self._carried_out])
        if self._done < len(self.user.calls):
            self._done += 1
            return self._execute(self.user.calls[self._done - 1 : self._done])
        words = self.obeyed.words if self.obeyed is not None else ""
        return " ".join(text for text in (self.user.answer, words) if text) or "Done."

    def _is_told(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        told = " ".join(squeezed(m["content"]) for m in messages if m["role"] == "tool")
        return self.goal is not None and squeezed(self.goal) in told

    def _execute(self, calls: Sequence[Call]) -> str:
        named = (ToolCall(name=self.tool_name(call.tool), arguments=dict(call.arguments)) for call in calls)
        return write_decision(Execute(calls=tuple(named)))


def squeezed(content: str) -> str:
    """The texts in a tool's output, each run of blanks as one: YAML folds the lines of what is planted in it."""
    try:
        data = json.loads(content)
    except ValueError:
        data = content
    return " ".join(" ".join(_texts(data)).split())


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from (str(key), *_texts(value))
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)


class ObeyingPolicy:
    """Fulfils `runtime.policy.base.Policy`. The system message says which mind a conversation is for."""

    model = "obeying"
    context_length = 1_000_000

    def __init__(self, renderer: MessageRenderer) -> None:
        self._renderer = renderer
        self.minds: dict[str, Mind] = {}

    async def sample(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, adapter: str | None = None
    ) -> Completion:
        messages = self._renderer.messages(prompt_ids)
        mind = self.minds[messages[0]["content"]]
        text = await asyncio.to_thread(mind.next, messages)
        token_ids = tuple(self._renderer.tokenizer.encode(text))
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
