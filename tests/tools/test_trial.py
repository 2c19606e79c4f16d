"""One call of a tool by its developer: which arguments it takes, and what is not called."""

from typing import Any

import pytest

from tools.examples import ExecuteExample
from tools.execution import Executor
from tools.spec import BuiltinBackend, CallStatus, SideEffect, ToolSpec
from tools.trial import known_arguments, try_tool


def tool(properties: dict[str, Any], *required: str, **others: Any) -> ToolSpec:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return ToolSpec(name="t", parameters=parameters, backend=BuiltinBackend(function="f"), **others)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 1}, 1),
        ({"type": "string", "default": "a"}, "a"),
        ({"type": "string", "examples": ["b", "c"]}, "b"),
        ({"type": "string", "enum": ["d", "e"]}, "d"),
        ({"type": "object", "properties": {"y": {"const": 2}, "z": {}}, "required": ["y"]}, {"y": 2}),
    ],
)
def test_a_schema_may_name_a_value(schema: dict[str, Any], value: Any) -> None:
    assert known_arguments(tool({"x": schema, "other": {"default": 1}}, "x")) == ({"x": value}, [])


def test_what_no_schema_names_is_missing_by_its_path() -> None:
    nested = {"type": "object", "properties": {"y": {"type": "string"}}, "required": ["y"]}
    assert known_arguments(tool({"x": nested, "w": {"default": 1}}, "x", "w")) == ({"w": 1}, ["x.y"])


def test_the_developers_own_example_goes_before_the_schema() -> None:
    example = ExecuteExample(utterance="do it", decision="execute", arguments={"x": "mine"})
    assert known_arguments(tool({"x": {"default": "other"}}, "x", examples=(example,))) == ({"x": "mine"}, [])


async def test_a_tool_is_called_with_what_is_known_or_given() -> None:
    executor = Executor(builtins={"f": lambda x: x})
    known = await try_tool(executor, tool({"x": {"default": "a"}}, "x"))
    given = await try_tool(executor, tool({"x": {"default": "a"}}, "x"), {"x": "b"})
    assert (known.status, known.plain()["result"]) == ("ok", '"a"')
    assert given.plain()["result"] == '"b"'


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (tool({"x": {"type": "string"}}, "x"), "no value is known for x"),
        (tool({"x": {"type": "string", "example": 3}}, "x"), "does not fit its schema: x: 3"),
        (tool({}, side_effect=SideEffect.WRITE), "side effect is write"),
        (tool({}, side_effect=SideEffect.IDEMPOTENT), "side effect is idempotent"),
    ],
)
async def test_a_tool_that_may_not_or_cannot_be_called_is_not_and_says_why(spec: ToolSpec, told: str) -> None:
    calls = []
    trial = await try_tool(Executor(builtins={"f": lambda **given: calls.append(given)}), spec)
    assert trial.status == "not_called"
    assert told in trial.plain()["reason"]
    assert calls == []


async def test_a_write_is_called_when_its_developer_says_so_and_given_arguments_are_checked() -> None:
    executor = Executor(builtins={"f": lambda **given: "done"})
    written = await try_tool(executor, tool({}, side_effect=SideEffect.WRITE), may_change=True)
    wrong = await try_tool(executor, tool({"x": {"type": "string"}}, "x"), {"x": 3})
    assert written.status == "ok"
    assert wrong.status == CallStatus.BAD_ARGUMENTS
