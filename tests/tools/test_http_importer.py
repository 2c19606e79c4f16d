from typing import Any

import pytest

from tools.errors import BadToolSpec
from tools.importers.http import http_tool
from tools.spec import HttpBackend, SideEffect

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def definition(**changes: Any) -> dict[str, Any]:
    return {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": PARAMETERS,
        "endpoint": {"url": "https://example.com/weather"},
    } | changes


def test_a_whole_definition_becomes_a_tool() -> None:
    spec = http_tool(
        definition(
            endpoint={"url": "http://localhost:8080/w", "method": "get", "headers": {"Accept-Language": "fr"}},
            side_effect="idempotent",
            timeout_s=2.5,
            max_result_bytes=1000,
            never_train=True,
        )
    )
    assert spec.backend == HttpBackend(url="http://localhost:8080/w", method="GET", headers={"Accept-Language": "fr"})
    assert (spec.name, spec.required, spec.timeout_s, spec.max_result_bytes) == ("weather", ("city",), 2.5, 1000)
    assert spec.side_effect is SideEffect.IDEMPOTENT
    assert spec.never_train


@pytest.mark.parametrize(
    ("method", "side_effect"),
    [("GET", "read"), ("PUT", "idempotent"), ("DELETE", "idempotent"), ("POST", "write"), ("PATCH", "write")],
)
def test_the_method_decides_where_the_side_effect_is_left_open(method: str, side_effect: str) -> None:
    spec = http_tool(definition(endpoint={"url": "https://example.com/w", "method": method}))
    assert spec.side_effect == side_effect


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "2 words"}, r"\$\.name"),
        ({"name": "decline"}, r"\$\.name: 'decline' is reserved"),
        ({"endpoint": {}}, r"\$\.endpoint\.url: Field required"),
        ({"endpoint": {"url": "ftp://example.com"}}, r"\$\.endpoint\.url: 'ftp://example.com' is no HTTP address"),
        ({"endpoint": {"url": "https:///path"}}, r"\$\.endpoint\.url"),
        ({"endpoint": {"url": "http://h:99999/"}}, r"\$\.endpoint\.url"),
        ({"endpoint": {"url": "https://h/a b"}}, "white space"),
        ({"endpoint": {"url": "https://h/{id}"}}, "placeholder"),
        ({"endpoint": {"url": "https://h/", "method": "SEND"}}, r"\$\.endpoint\.method"),
        ({"endpoint": {"url": "https://h/", "headers": {"a b": "c"}}}, "'a b' is no header name"),
        ({"endpoint": {"url": "https://h/", "headers": {"X": "a\r\nY: b"}}}, "the value of 'X'"),
        ({"endpoint": {"url": "https://h/", "headers": {"Host": "h"}}}, "'Host' is set for each call"),
        ({"parameters": []}, r"\$\.parameters"),
        ({"parameters": {"type": "object", "properties": {"city": "string"}}}, r"\$\.parameters\.properties\.city"),
        ({"parameters": {"type": "string"}}, r"\$\.parameters\.type"),
        ({"side_effect": "maybe"}, r"\$\.side_effect"),
        ({"timeout_s": 0}, r"\$\.timeout_s"),
        ({"timeout_s": "soon"}, r"\$\.timeout_s"),
        ({"colour": "red"}, r"\$\.colour: .*the fields are: name, description"),
    ],
)
def test_a_bad_definition_is_refused_naming_the_field(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadToolSpec, match=told):
        http_tool(definition(**changes))
