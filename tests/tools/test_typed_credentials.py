"""Credentials that are typed into definitions: which are told, and what is said instead."""

from typing import Any

import pytest

from tests.tools.tool_specs import tool
from tools.catalogue import check_spec
from tools.errors import BadToolSpec
from tools.lint import Rule, lint
from tools.spec import HttpBackend, McpBackend, McpHttpServer, McpStdioServer
from tools.typed_credentials import typed_credential

URL = "https://api.example.com/x"


def told(backend: Any) -> str | None:
    return typed_credential(tool(backend=backend))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, "v-4711-x")
        for name in ("Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "apikey", "X-AuthToken")
    ]
    + [
        (name, "v-4711-x")
        for name in ("x-amz-security-token", "Ocp-Apim-Subscription-Key", "X-Client-Secret", "x-password")
    ]
    + [
        ("X-Whatever", value)
        for value in ("Bearer abcdef", "ghp_0123456789abcdefABCD", "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln")
    ],
)
def test_a_header_that_carries_one_is_told_with_the_remedy_and_without_its_value(name: str, value: str) -> None:
    for backend in (
        HttpBackend(url=URL, headers={name: value}),
        McpBackend(server=McpHttpServer(url=URL, headers={name: value}), remote_name="x"),
    ):
        problem = told(backend)
        assert problem is not None, name
        assert f"headers: '{name}' is a credential" in problem
        assert "hone secrets set NAME --host api.example.com" in problem
        assert '"secret": "NAME"' in problem
        assert value not in problem


@pytest.mark.parametrize(
    "header",
    [
        "Accept-Language: fr",
        "X-Tokenizer: gpt2",
        "X-Branch: main",
        "X-Monkey: yes",
        "X-Api-Key: ",
        "Api-Version: 2026-01-01",
    ],
)
def test_an_ordinary_header_is_none(header: str) -> None:
    name, _, value = header.partition(":")
    assert told(HttpBackend(url=URL, headers={name: value})) is None


@pytest.mark.parametrize(
    ("url", "is_told"),
    [
        (f"{URL}?api_key=v-4711", True),
        (f"{URL}?key=v-4711", True),
        (f"{URL}?access_token=v-4711", True),
        ("https://ann:v-4711@api.example.com/x", True),
        ("https://v-4711@api.example.com/x", True),
        (f"{URL}?sort_key=name&author=ann", False),
        (f"{URL}?api_key=", False),
        (f"{URL}?max_tokens=40", False),
    ],
)
def test_an_address_is_looked_at_too(url: str, is_told: bool) -> None:
    problem = told(HttpBackend(url=url))
    assert (problem is not None) is is_told
    assert "v-4711" not in (problem or "")


@pytest.mark.parametrize(
    ("server", "is_told"),
    [
        ({"env": {"GITHUB_TOKEN": "v-4711"}}, True),
        ({"env": {"DB_PASSWORD": "v-4711"}}, True),
        ({"args": ("--api-key", "v-4711")}, True),
        ({"args": ("--token=v-4711",)}, True),
        ({"args": ("Bearer v-4711-xy",)}, True),
        ({"env": {"TOKENIZERS_PARALLELISM": "true", "MAX_TOKENS": "9"}, "args": ("--token", "--verbose")}, False),
        ({"secret_env": {"GITHUB_TOKEN": "GH"}}, False),
    ],
)
def test_a_programs_environment_and_arguments_are_looked_at_too(server: dict[str, Any], is_told: bool) -> None:
    problem = told(McpBackend(server=McpStdioServer(command="npx", **server), remote_name="x"))
    assert (problem is not None) is is_told
    if problem is not None:
        assert "--host stdio:npx" in problem
        assert "v-4711" not in problem


def test_such_a_definition_is_not_registered_and_one_that_was_is_a_finding() -> None:
    spec = tool(backend=HttpBackend(url=URL, headers={"X-Api-Key": "v-4711"}))
    with pytest.raises(BadToolSpec, match=r"\$\.endpoint\.headers: 'X-Api-Key' is a credential"):
        check_spec(spec)
    (finding,) = lint(spec)
    assert finding.rule is Rule.TYPED_CREDENTIAL
    assert "v-4711" not in str(finding)
