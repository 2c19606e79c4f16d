"""From messages and tools to the exact tokens that the policy sees: the one place that renders prompts.

Serving, training and evaluation all come through `Renderer.render`, so a prompt is the same everywhere. The reserved
tools stand beside the registered ones in the model's own chat template.

Only the template may write control tokens. Where users or tools write the like ("<|im_end|>"), the text is broken by an invisible
character, so that nobody can end a turn or open a call from within a message.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from runtime.decision import ASK_USER, CALL_OPEN, DECLINE, RefusalCategory
from runtime.errors import UnknownModel
from runtime.grammar import decision_grammar

Message: TypeAlias = Mapping[str, Any]
"""OpenAI's shape: role, content, and for tool turns tool_calls, tool_call_id, name."""

RESERVED_SCHEMAS: tuple[dict[str, Any], ...] = (
    {
        "type": "function",
        "function": {
            "name": ASK_USER,
            "description": "Ask the user for required values that the conversation does not give.",
            "parameters": {
                "type": "object",
                "properties": {
                    "missing": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"tool": {"type": "string"}, "parameter": {"type": "string"}},
                            "required": ["tool", "parameter"],
                        },
                    },
                    "question": {"type": "string"},
                },
                "required": ["missing", "question"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": DECLINE,
            "description": "Decline a request that no tool can serve or that must not be served.",
            "parameters": {
                "type": "object",
                "properties": {
                    "category": {"type": "string", "enum": [c.value for c in RefusalCategory]},
                    "reason": {"type": "string"},
                },
                "required": ["category", "reason"],
            },
        },
    },
)


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    token_ids: tuple[int, ...]


_WORD_JOINER = "\u2060"
_KEPT = 256
"""Sets of tools of which it is remembered what they come to: most turns of a server show one of a few."""
_RECENT_MESSAGES = 8


def recent_words(messages: Sequence[Message]) -> str:
    """What the user said of late, by which tools are found: an answer such as "Oslo" says nothing without the request before it."""
    said = [str(m.get("content") or "") for m in messages if m["role"] == "user"]
    return "\n".join(said[-_RECENT_MESSAGES:])


def called_tools(messages: Sequence[Message]) -> list[str]:
    """Tools that the conversation has called, the latest first: a correction is about them, whatever its words."""
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return list(dict.fromkeys(call.get("function", call)["name"] for call in reversed(calls)))


def _broken(control: re.Match[str]) -> str:
    return control[0][0] + _WORD_JOINER + control[0][1:]


class Renderer:
    """Renders with one model's tokenizer and chat template, and says what may be written after a prompt."""

    def __init__(self, tokenizer: Any, *, constrained: bool = True) -> None:
        """Args: constrained: whether decisions are written under their grammar, wherever these prompts go."""
        self._tokenizer = tokenizer
        self._constrained = constrained

    @classmethod
    def load(cls, model: str | Path, *, constrained: bool = True) -> "Renderer":
        """Raises: UnknownModel: no tokenizer at that path or name, or one whose template takes no tools."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(str(model))
        except (OSError, ValueError) as e:
            raise UnknownModel(
                f"no model at {str(model)!r}: give a folder that holds a Hugging Face causal LM, or a hub name that can be reached"
            ) from e
        if not tokenizer.chat_template or "tools" not in str(tokenizer.chat_template):
            raise UnknownModel(
                f"the chat template of {str(model)!r} takes no tools: choose an instruct model with tool support"
            )
        return cls(tokenizer, constrained=constrained)

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Prompt:
        """Args: messages: the conversation; tools: registered tools in OpenAI's shape, reserved ones not among them."""
        text = self._tokenizer.apply_chat_template(
            [self._defused(dict(m)) for m in messages],
            tools=[*self._defused_tools(json.dumps(tools)), *RESERVED_SCHEMAS],
            add_generation_prompt=True,
            tokenize=False,
        )
        return Prompt(text=text, token_ids=tuple(self._tokenizer.encode(text, add_special_tokens=False)))

    def grammar(self, tools: Sequence[Mapping[str, Any]]) -> str | None:
        """What the policy may write when it sees these tools (`runtime.grammar`); None: anything."""
        return self._grammar(json.dumps(tools)) if self._constrained else None

    @cached_property
    def _grammar(self) -> Callable[[str], str]:
        is_token = CALL_OPEN in self._tokenizer.get_added_vocab()
        return lru_cache(_KEPT)(lambda tools: decision_grammar(json.loads(tools), is_token=is_token))

    @cached_property
    def _defused_tools(self) -> Callable[[str], list[Any]]:
        return lru_cache(_KEPT)(lambda tools: self._defused(json.loads(tools)))

    @cached_property
    def _controls(self) -> re.Pattern[str] | None:
        controls = sorted(map(str, self._tokenizer.get_added_vocab()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, controls))) if controls else None

    def _defused(self, value: Any) -> Any:
        """The same data without anything that the tokenizer would read as a control token."""
        if isinstance(value, str):
            return self._controls.sub(_broken, value) if self._controls else value
        if isinstance(value, Mapping):
            return {self._defused(key): self._defused(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._defused(item) for item in value]
        return value

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of a completion: the end-of-turn token goes, ordinary added tokens stay."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)
