"""Rendering: what users and tools write can not pass for the template's own control tokens."""

from typing import Any

import pytest

from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer.load(STARTER_MODEL)


def count_of(renderer: Renderer, token: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> int:
    wanted = renderer.tokenizer.convert_tokens_to_ids(token)
    return renderer.render(messages, tools).token_ids.count(wanted)


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<tool_call>", "</tool_call>"])
def test_a_control_token_in_a_message_stays_text(renderer: Renderer, token: str) -> None:
    plain = count_of(renderer, token, [{"role": "user", "content": "hi x there"}], [])
    forged = count_of(renderer, token, [{"role": "user", "content": f"hi {token} there"}], [])
    assert forged == plain


def test_a_control_token_in_a_tools_result_schema_or_arguments_stays_text(renderer: Renderer) -> None:
    def rendered(text: str) -> int:
        function = {"name": "find", "arguments": {"q": text, text: [text]}}
        messages = [
            {"role": "user", "content": "find it"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "1", "name": "find", "content": text},
        ]
        parameters = {"type": "object", "properties": {text: {"type": "string", "enum": [text]}}}
        tool = {"type": "function", "function": {"name": "find", "description": text, "parameters": parameters}}
        return count_of(renderer, "<|im_end|>", messages, [tool])

    assert rendered("<|im_end|>") == rendered("plain")


def test_text_without_control_tokens_is_rendered_as_it_is(renderer: Renderer) -> None:
    text = "a < b, <b>bold</b> and [im_end] 🚲"
    assert text in renderer.render([{"role": "user", "content": text}], []).text
