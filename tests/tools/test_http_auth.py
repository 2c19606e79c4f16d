"""Credentials against a real service: sent as their kind says, and never seen again."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tests.tools.bound_secrets import bound_environment, bound_to
from tests.tools.serving import serving, to_this_machine
from tools.destinations import LOOPBACK
from tools.execution import Executor
from tools.http_auth import Credentials
from tools.redaction import Redaction
from tools.request_layout import LaidOut
from tools.secrets import EnvironmentSecrets
from tools.spec import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    CallStatus,
    ClientCredentialsAuth,
    HttpBackend,
    Place,
    Placement,
    RequestLayout,
    ToolSpec,
)

SECRETS = {
    "KEY": "sk-3f/9+a b",
    "PAIR": "ann:p@ss/word",
    "BROKEN": "line\nbreak-7d",
    "SINGLE": "no-colon",
}
TOKEN_SERVER_THAT_IS_DOWN = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def service() -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.tokens = 0
    app.state.fault = None

    @app.api_route("/echo", methods=["GET", "POST"])
    async def echo(request: Request) -> dict[str, Any]:
        """Says all that it was sent, as a careless service does."""
        headers = {
            name: request.headers[name] for name in ("authorization", "x-key", "cookie") if name in request.headers
        }
        return {"headers": headers, "url": str(request.url), "query": dict(request.query_params)}

    @app.get("/refuse")
    async def refuse(request: Request) -> JSONResponse:
        return JSONResponse({"message": f"bad key {request.query_params.get('key')}"}, status_code=400)

    @app.get("/locked")
    async def locked() -> JSONResponse:
        return JSONResponse({}, status_code=401)

    @app.post("/token")
    async def token(request: Request) -> JSONResponse:
        if app.state.fault is not None:
            return app.state.fault
        form = await request.form()
        app.state.tokens += 1
        app.state.asked = (request.headers["authorization"], dict(form))
        return JSONResponse({"access_token": f"tok-{app.state.tokens}-x9", "expires_in": 100})

    return app


@pytest.fixture(scope="module")
def url(service: FastAPI) -> Iterator[str]:
    with serving(service) as base:
        yield base


@pytest_asyncio.fixture
async def executor(url: str) -> AsyncIterator[Executor]:
    environment = bound_environment(SECRETS, url, TOKEN_SERVER_THAT_IS_DOWN) | {"HOME": "/root/of/all"}
    executor = Executor(outbound=to_this_machine(), secrets=EnvironmentSecrets(environment))
    yield executor
    await executor.close()


def tool(url: str, *auth: Auth, **backend: Any) -> ToolSpec:
    made = HttpBackend(url=url, method="GET", auth=auth, **backend)
    return ToolSpec(name="echo", parameters={"type": "object"}, backend=made)


async def content(executor: Executor, spec: ToolSpec) -> str:
    result = await executor.run(spec, {}, call_id="c1")
    assert result.status is CallStatus.OK, result.content
    return result.content


async def test_a_key_goes_in_header_query_or_cookie_and_is_taken_out_of_the_answer(
    executor: Executor, url: str
) -> None:
    for place in ("header", "query", "cookie"):
        told = await content(executor, tool(f"{url}/echo", ApiKeyAuth(place=place, name="x-key", secret="KEY")))
        assert "[secret KEY]" in told
        assert "sk-3f" not in told


async def test_a_pair_goes_as_basic_and_is_taken_out_in_each_of_its_forms(executor: Executor, url: str) -> None:
    told = await content(executor, tool(f"{url}/echo", BasicAuth(secret="PAIR")))
    assert json.loads(told)["headers"]["authorization"] == "Basic [secret PAIR]"


async def test_a_parameter_that_a_secret_fills_is_taken_out_of_an_errors_words(executor: Executor, url: str) -> None:
    layout = RequestLayout(placements=(Placement(place=Place.QUERY, name="key", secret="KEY"),))
    result = await executor.run(tool(f"{url}/refuse", layout=layout), {}, call_id="c1")
    assert result.status is CallStatus.REJECTED
    assert "bad key [secret KEY]" in result.content


async def test_a_secret_that_is_not_set_fails_the_call_and_says_how_to_set_it(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/echo", BearerAuth(secret="NONE")), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "must set HONE_SECRET_NONE and HONE_HOSTS_NONE in the server's environment" in result.content


async def test_no_other_variable_of_the_environment_can_be_named(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/echo", BearerAuth(secret="HOME")), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "/root/of/all" not in result.content


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        (BearerAuth(secret="BROKEN"), "the secret BROKEN holds characters that a header cannot carry"),
        (BasicAuth(secret="SINGLE"), "the secret SINGLE is not written as user:password"),
    ],
)
async def test_a_secret_that_cannot_be_sent_is_named_and_not_shown(
    executor: Executor, url: str, auth: Auth, told: str
) -> None:
    result = await executor.run(tool(f"{url}/echo", auth), {}, call_id="c1")
    assert told in result.content
    assert "7d" not in result.content
    assert "colon" not in result.content


async def test_a_token_is_fetched_with_the_clients_credentials_once_and_renewed_in_time(
    service: FastAPI, url: str
) -> None:
    now = [1000.0]
    auth = ClientCredentialsAuth(token_url=f"{url}/token", scopes=("a", "b"), secret="PAIR")
    async with to_this_machine().client() as client:
        secrets = bound_to(url, "https://h/", **SECRETS)
        credentials = Credentials(client, secrets, allowed=LOOPBACK, clock=lambda: now[0])

        async def bearer() -> str:
            laid = await credentials.apply([auth], LaidOut("https://h/"), Redaction(), tool="echo")
            return laid.headers["authorization"]

        first = await bearer()
        now[0] += 69
        assert await bearer() == first
        now[0] += 2
        second = await bearer()
        assert second != first
        credentials.forget([auth])
        assert await bearer() not in (first, second)
    basic = base64.b64encode(b"ann:p%40ss%2Fword").decode()  # RFC 6749, 2.3.1
    assert service.state.asked == (f"Basic {basic}", {"grant_type": "client_credentials", "scope": "a b"})


async def test_a_token_is_fetched_anew_once_the_credentials_are_changed(service: FastAPI, url: str) -> None:
    values = bound_environment(SECRETS, url, "https://h/")
    auth = ClientCredentialsAuth(token_url=f"{url}/token", secret="PAIR")
    async with to_this_machine().client() as client:
        credentials = Credentials(client, EnvironmentSecrets(values), allowed=LOOPBACK)
        first = await credentials.apply([auth], LaidOut("https://h/"), Redaction(), tool="echo")
        values["HONE_SECRET_PAIR"] = "bob:other-word"
        second = await credentials.apply([auth], LaidOut("https://h/"), Redaction(), tool="echo")
    assert first.headers["authorization"] != second.headers["authorization"]
    assert service.state.asked[0] == f"Basic {base64.b64encode(b'bob:other-word').decode()}"


async def test_a_token_does_not_come_through_and_a_401_gives_a_new_one(
    executor: Executor, service: FastAPI, url: str
) -> None:
    auth = ClientCredentialsAuth(token_url=f"{url}/token", secret="PAIR")
    assert "tok-" not in await content(executor, tool(f"{url}/echo", auth))
    before = service.state.tokens
    await executor.run(tool(f"{url}/locked", auth), {}, call_id="c1")
    assert "tok-" not in await content(executor, tool(f"{url}/echo", auth))
    assert service.state.tokens == before + 1


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (JSONResponse({"error": "invalid_client"}, status_code=401), "answered 401 (invalid_client) and gave no token"),
        (JSONResponse({"access_token": 7}), "answered 200 and gave no token"),
        (JSONResponse([1]), "gave no token"),
    ],
)
async def test_a_token_that_is_not_given_fails_the_call(
    executor: Executor, service: FastAPI, url: str, fault: Any, told: str
) -> None:
    service.state.fault = fault
    try:
        auth = ClientCredentialsAuth(token_url=f"{url}/token", secret="PAIR")
        result = await executor.run(tool(f"{url}/echo", auth), {}, call_id="c1")
    finally:
        service.state.fault = None
    assert result.status is CallStatus.FAILED
    assert told in result.content


async def test_a_token_server_that_is_down_fails_the_call(executor: Executor, url: str) -> None:
    auth = ClientCredentialsAuth(token_url=f"{TOKEN_SERVER_THAT_IS_DOWN}/token", secret="PAIR")
    result = await executor.run(tool(f"{url}/echo", auth), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "no token from http://127.0.0.1" in result.content
