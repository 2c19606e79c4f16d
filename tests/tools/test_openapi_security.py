"""Which credentials an imported tool takes."""

from typing import Any

import pytest

from tests.tools.openapi_specs import backend, only_tool, operation, spec, surveyed
from tools.errors import ImportFailed
from tools.importers.openapi.security import secret_name
from tools.spec import ApiKeyAuth, BasicAuth, BearerAuth, ClientCredentialsAuth, Place, Placement, Style

SCHEMES = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Key"},
    "login": {"type": "http", "scheme": "Basic"},
    "jwt": {"type": "http", "scheme": "bearer"},
    "machine": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "/token"}, "implicit": {}}},
    "person": {"type": "oauth2", "flows": {"authorizationCode": {"tokenUrl": "https://h/token"}}},
    "cert": {"type": "mutualTLS"},
}


def auth_of(security: Any, **choice: Any) -> Any:
    others = {} if security is None else {"security": security}
    root = spec({"/a": {"get": operation(**others)}}, components={"securitySchemes": SCHEMES})
    return backend(only_tool(root, **choice)).auth


@pytest.mark.parametrize(
    ("security", "auth"),
    [
        ([{"apiKey": []}], (ApiKeyAuth(place="header", name="X-Key", secret="API_KEY"),)),
        ([{"login": []}], (BasicAuth(secret="LOGIN"),)),
        ([{"jwt": []}], (BearerAuth(secret="JWT"),)),
        ([{"person": ["x"]}], (BearerAuth(secret="PERSON"),)),
        ([{"machine": ["read", "write"]}],
         (ClientCredentialsAuth(token_url="https://pets.example/token", scopes=("read", "write"), secret="MACHINE"),)),
        ([{"cert": []}, {"jwt": []}], (BearerAuth(secret="JWT"),)),
        ([{"jwt": [], "apiKey": []}],
         (BearerAuth(secret="JWT"), ApiKeyAuth(place="header", name="X-Key", secret="API_KEY"))),
        ([{}, {"jwt": []}], ()),
        ([], ()),
        (None, ()),
    ],
)  # fmt: skip
def test_the_first_usable_alternative_is_taken_under_a_name_of_its_scheme(security: Any, auth: Any) -> None:
    assert auth_of(security) == auth


def test_the_alternative_whose_secrets_were_given_wins() -> None:
    assert auth_of([{}, {"login": []}, {"jwt": []}], secrets={"jwt": "MY_JWT"}) == (BearerAuth(secret="MY_JWT"),)
    assert auth_of(None, secrets={"jwt": "MY_JWT"}) == (BearerAuth(secret="MY_JWT"),)


def test_an_operation_that_asks_for_what_we_cannot_do_is_skipped() -> None:
    root = spec({"/a": {"get": operation(security=[{"cert": []}])}}, components={"securitySchemes": SCHEMES})
    (skipped,) = surveyed(root).skipped
    assert (skipped.reason, skipped.place) == (
        "the security scheme 'cert' (mutualTLS) is not supported",
        "/components/securitySchemes/cert",
    )


def test_a_parameter_that_a_secret_fills_is_no_argument() -> None:
    token = {"name": "token", "in": "query", "required": True, "schema": {"type": "string"}}
    tool = only_tool(spec({"/a": {"get": operation(parameters=[token])}}), secrets={"token": "CHAT"})
    assert tool.parameters["properties"] == {}
    hidden = Placement(place=Place.QUERY, name="token", secret="CHAT", style=Style.FORM, explode=True)
    assert backend(tool).layout is not None
    assert backend(tool).layout.placements == (hidden,)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("secrets", "told"),
    [
        ({"nothing": "X"}, "'nothing' is no security scheme and no parameter"),
        ({"jwt": "eyJhbGciOi.secret"}, "jwt: this is no name of a secret"),
    ],
)
def test_a_secret_that_fits_nothing_or_is_a_value_is_refused_without_repeating_it(
    secrets: dict[str, str], told: str
) -> None:
    with pytest.raises(ImportFailed, match=told) as caught:
        auth_of([{"jwt": []}], secrets=secrets)
    assert "eyJ" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "name"),
    [("apiKey", "API_KEY"), ("oauth_2_0", "OAUTH_2_0"), ("2fa", "KEY_2FA"), ("日本", "KEY"), ("x" * 99, "X" * 64)],
)
def test_a_secret_that_nobody_named_is_named_after_its_scheme(scheme: str, name: str) -> None:
    assert secret_name(scheme) == name
