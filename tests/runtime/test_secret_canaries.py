"""Two hundred planted secrets, sent to a real service that repeats whatever it gets: none is found anywhere after.

The search is for any eight characters in a row of a secret, as they are and in the base64 of any text around them, so
that half a secret counts as found, and so does one that was percent-encoded or escaped around its odd characters.
"""

import base64
import contextlib
import json
import logging
import random
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from typer.testing import CliRunner

from hone.__main__ import app as hone_command
from runtime.prompt import Renderer
from runtime.telemetry.logs import configure_logging
from tests.runtime.agent_parts import execute
from tests.runtime.served_app import ServedApp, served_app
from tests.tools.serving import serving
from tools.secret_bounds import host_entry
from tools.spec import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    ClientCredentialsAuth,
    HttpBackend,
    Place,
    Placement,
    RequestLayout,
    Style,
    ToolSpec,
)

COUNT = 200
PER_TURN = 5
WINDOW = 8
"""62^8 possibilities: nothing is found by chance."""
ANSWERS = ("echo", "plain", "refuse", "broken", "moved", "long")
TEXT = string.ascii_letters + string.digits
API_KEY = {"name": "X-Api-Key", "schema": {"type": "string"}}
ANY = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Planted:
    name: str
    value: str


def plant() -> list[Planted]:
    """Pairs, with the characters that JSON, URLs, HTML and headers write in other ways."""
    source = random.Random(7)

    def word() -> str:
        return "".join(source.choices(TEXT, k=20))

    return [Planted(f"S{number}", f'{word()}:{word()}/+ "\\<&%={word()}') for number in range(COUNT)]


def windows(value: str) -> Iterator[bytes]:
    for word in "".join(c if c in TEXT else " " for c in value).split():
        yield from pieces(word.encode())
    for before in range(3):  # where a value begins within the groups of three bytes
        encoded = base64.b64encode(b"-" * before + value.encode()).rstrip(b"=")
        yield from pieces(encoded[4 if before else 0 : -2])
        yield from pieces(encoded[4 if before else 0 : -2].translate(bytes.maketrans(b"+/", b"-_")))


def pieces(text: bytes) -> Iterator[bytes]:
    return (text[at : at + WINDOW] for at in range(len(text) - WINDOW + 1))


def found_in(texts: Iterable[tuple[str, bytes]], wanted: set[bytes]) -> list[str]:
    return [place for place, text in texts if not wanted.isdisjoint(pieces(text))]


def careless() -> FastAPI:
    """Answers with all that it was sent, in every way that services do."""
    app = FastAPI(openapi_url=None)
    app.state.tokens = {}
    app.state.received = []

    async def told(request: Request) -> dict[str, Any]:
        raw = [f"{name.decode()}: {value.decode()}" for name, value in request.headers.raw]
        body = (await request.body()).decode()
        remember(request, str(request.url), *raw, body)
        return {
            "headers": raw,
            "url": str(request.url),
            "path": request.scope["raw_path"].decode(),
            "query": dict(request.query_params),
            "cookies": request.cookies,
            "body": body,
            "nested": json.dumps({"body": body, "headers": raw}),
            "encoded": base64.b64encode("\n".join([*raw, str(request.url), body]).encode()).decode(),
            "urlsafe": base64.urlsafe_b64encode("\n".join(raw).encode()).decode(),
            "quoted": quote("\n".join([*raw, body]), safe=""),
        }

    def remember(request: Request, *parts: str) -> None:
        kind, _, credentials = request.headers.get("authorization", "").partition(" ")
        basic = base64.b64decode(credentials).decode() if kind == "Basic" else ""
        app.state.received.append(" ".join((*parts, basic)))

    @app.api_route("/echo/{rest:path}", methods=["GET", "POST"])
    async def echo(request: Request) -> dict[str, Any]:
        return await told(request)

    @app.api_route("/plain/{rest:path}", methods=["GET", "POST"])
    async def plain(request: Request) -> Response:
        return PlainTextResponse(json.dumps(await told(request), indent=1), headers={"x-said": "yes"})

    @app.api_route("/refuse/{rest:path}", methods=["GET", "POST"])
    async def refuse(request: Request) -> Response:
        said = await told(request)
        return JSONResponse({"error": {"message": f"bad credentials: {said['headers']} {said['url']}"}}, 403)

    @app.api_route("/broken/{rest:path}", methods=["GET", "POST"])
    async def broken(request: Request) -> Response:
        return PlainTextResponse(f"Traceback: {await told(request)}", 500)

    @app.api_route("/moved/{rest:path}", methods=["GET", "POST"])
    async def moved(request: Request) -> Response:
        said = quote(json.dumps((await told(request))["headers"]), safe="")
        return RedirectResponse(f"http://192.168.7.7/{said}?{said}", 308)

    @app.api_route("/long/{rest:path}", methods=["GET", "POST"])
    async def long(request: Request) -> Response:
        """The limit on error bodies, 64 KiB, falls within a secret, and so does the middle that is left out."""
        await told(request)
        said = next(iter(request.query_params.values()), "") or request.headers.get("authorization", "-" * 60)
        start = said * 10
        return PlainTextResponse(start + "." * (65_536 - len(start) - len(said) // 2) + said * 3, 500)

    @app.post("/token")
    async def token(request: Request) -> Response:
        remember(request)
        basic = request.headers["authorization"]
        value = app.state.tokens.setdefault(basic, "".join(random.Random(basic).choices(TEXT, k=20)))
        return JSONResponse({"access_token": value, "expires_in": 3600})

    @app.post("/no-token")
    async def no_token(request: Request) -> Response:
        remember(request)
        return JSONResponse({"error": f"invalid_client {request.headers['authorization']}"}, 401)

    return app


def ways(url: str, name: str) -> list[tuple[tuple[Auth, ...], RequestLayout | None, str]]:
    """How a secret gets into a request: its auth, its layout, and what the path ends in."""

    def placed(place: Place, wire: str, **others: Any) -> RequestLayout:
        return RequestLayout(placements=(Placement(place=place, name=wire, secret=name, **others),), media_type=None)

    body = RequestLayout(
        placements=(Placement(place=Place.BODY, name="key", secret=name, style=Style.JSON),),
        media_type="application/json",
        body_required=True,
    )
    return [
        ((ApiKeyAuth(place="header", name="x-key", secret=name),), None, ""),
        ((ApiKeyAuth(place="query", name="key", secret=name),), None, ""),
        ((ApiKeyAuth(place="cookie", name="key", secret=name),), None, ""),
        ((BearerAuth(secret=name),), None, ""),
        ((BasicAuth(secret=name),), None, ""),
        ((ClientCredentialsAuth(token_url=f"{url}/token", secret=name),), None, ""),
        ((ClientCredentialsAuth(token_url=f"{url}/no-token", secret=name),), None, ""),
        ((), placed(Place.QUERY, "key", style=Style.FORM), ""),
        ((), placed(Place.HEADER, "x-placed"), ""),
        ((), placed(Place.PATH, "key"), "{key}"),
        ((), body, ""),
    ]


def tools(url: str, planted: list[Planted]) -> list[ToolSpec]:
    """One for each secret; ways in and kinds of answer come round in all combinations."""
    specs = []
    for number, secret in enumerate(planted):
        chosen = ways(url, secret.name)
        auth, layout, end = chosen[number % len(chosen)]
        answer = ANSWERS[number % len(ANSWERS)]
        has_body = layout is not None and layout.body_required
        backend = HttpBackend(
            url=f"{url}/{answer}/{end}", method="POST" if has_body else "GET", auth=auth, layout=layout
        )
        specs.append(ToolSpec(name=f"tool_{number}", parameters=ANY, backend=backend))
    return specs


@contextlib.contextmanager
def everything_logged(path: Path, served_settings: Any) -> Iterator[None]:
    """Our log and every library's, at the most talkative level, with whatever is printed."""
    root = logging.getLogger()
    before = root.level
    with path.open("w") as file, contextlib.redirect_stderr(file), contextlib.redirect_stdout(file):
        handler = logging.StreamHandler(file)
        root.addHandler(handler)
        configure_logging(served_settings)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(before)


def remember_replies(client: httpx2.Client, replies: list[tuple[str, bytes]]) -> None:
    def keep(response: httpx2.Response) -> None:
        response.read()
        headers = b"\n".join(name + b": " + value for name, value in response.headers.raw)
        replies.append((f"reply of {response.request.url.path}", headers + b"\n" + response.content))

    client.event_hooks["response"].append(keep)


def use_each(server: ServedApp, specs: list[ToolSpec]) -> list[dict[str, Any]]:
    """Calls every tool, some in streamed turns; gives the calls as the API shows them."""
    calls = []
    for turn, at in enumerate(range(0, len(specs), PER_TURN)):
        names = [spec.name for spec in specs[at : at + PER_TURN]]
        server.policy.script = [execute(*((name, {}) for name in names)), "Done."]
        reply = server.chat("go on", metadata={"tools": ",".join(names)}, stream=turn % 4 == 3)
        assert reply.status_code == 200, reply.text
        shown = server.http.get(f"/v1/traces/{reply.headers['x-hone-trace']}").json()
        calls += [outcome for span in shown["spans"] for outcome in span["outcomes"]]
    return calls


@pytest.fixture
def restored_logging() -> Iterator[None]:
    import structlog

    before = logging.getLogger().handlers[:]
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = before


@pytest.mark.usefixtures("restored_logging")
def test_two_hundred_planted_secrets_are_found_nowhere(tmp_path: Path, renderer: Renderer) -> None:
    planted = plant()
    wanted = {window for secret in planted for window in windows(secret.value)}
    home, log = tmp_path / "home", tmp_path / "server.log"
    replies: list[tuple[str, bytes]] = []
    service = careless()
    with serving(service) as url:
        specs = tools(url, planted)
        with served_app(home, renderer, executor=None, tools=specs, log_level="debug") as server:
            remember_replies(server.http, replies)
            with everything_logged(log, server.services.settings):
                server.services.engine.echo = "debug"  # each statement, with what it carries
                for secret in planted:
                    made = server.http.put(
                        f"/v1/secrets/{secret.name}", json={"value": secret.value, "hosts": [host_entry(url)]}
                    )
                    assert made.status_code == 201, made.text
                assert server.http.post("/v1/secrets/rotate-key").json()["rewrapped"] == COUNT
                outcomes = use_each(server, specs)
                for path in ("/v1/secrets", "/v1/traces?limit=200", "/v1/tools", "/openapi.json"):
                    assert server.http.get(path).status_code == 200
                exported = [tmp_path / "traces.json", tmp_path / "secrets.json"]
                for command, file in zip(("traces list --limit 1000", "secrets list"), exported, strict=True):
                    done = CliRunner().invoke(
                        hone_command, [*command.split(), "--home", str(home), "--json", str(file)]
                    )
                    assert done.exit_code == 0, done.output
            prompts = [("a prompt", prompt.encode()) for prompt in server.policy.prompts]
            running = [(str(path), path.read_bytes()) for path in home.rglob("*") if path.is_file()]
    kept = [(str(path), path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()]
    assert "hone.db" in {Path(place).name for place, _ in running}
    tokens = {window for token in service.state.tokens.values() for window in pieces(token.encode())}
    assert found_in([*running, *kept, *replies, *prompts], wanted | tokens) == []

    # and yet each did go out, and most came back
    assert len(outcomes) == COUNT
    received = " ".join(service.state.received)
    assert [secret.name for secret in planted if secret.value[:20] not in received] == []
    told = " ".join(outcome["content"] for outcome in outcomes)
    assert sum(f"[secret {secret.name}]" in told for secret in planted) > COUNT / 2
    assert len(service.state.tokens) > COUNT / 20
    assert "INSERT INTO tool_calls" in log.read_text()


def typed(canary: str) -> list[tuple[str, dict[str, Any]]]:
    """Ways to type a credential into a definition: path, body."""
    at = "https://api.example.com"
    endpoints: list[dict[str, Any]] = [
        {"url": at, "headers": {"Authorization": f"Bearer {canary}"}},
        {"url": at, "headers": {"authorization": f"Basic {base64.b64encode(canary.encode()).decode()}"}},
        {"url": at, "headers": {"X-Api-Key": canary}},
        {"url": at, "headers": {"cookie": f"session={canary}"}},
        {"url": at, "headers": {"x-innocent": f"Bearer {canary}"}},
        {"url": f"{at}/?api_key={canary}"},
        {"url": f"https://ann:{canary}@api.example.com/"},
        {"url": at, "auth": [{"kind": "client_credentials", "token_url": f"{at}/t?key={canary}", "secret": "PAIR"}]},
        {"url": at, "auth": [{"kind": "bearer", "secret": canary}]},
    ]
    servers: list[dict[str, Any]] = [
        {"url": f"{at}/mcp", "headers": {"X-Auth-Token": canary}},
        {"url": f"{at}/mcp?api_key={canary}"},
        {"command": "python", "env": {"GITHUB_TOKEN": canary}},
        {"command": "python", "args": ["--api-key", canary]},
        {"command": "python", "args": [f"--token={canary}"]},
    ]
    tools = [{"name": "typed", "parameters": ANY, "endpoint": endpoint} for endpoint in endpoints]
    return [("/v1/tools", body) for body in (*tools, *({"mcp": server} for server in servers))]


@pytest.mark.usefixtures("restored_logging")
def test_credentials_that_are_typed_into_definitions_are_refused_and_found_nowhere(
    tmp_path: Path, renderer: Renderer
) -> None:
    source = random.Random(11)
    home, log = tmp_path / "home", tmp_path / "server.log"
    replies: list[tuple[str, bytes]] = []
    wanted: set[bytes] = set()
    described = {
        "openapi": "3.1.0",
        "info": {"title": "Typed", "version": "1"},
        "servers": [{"url": "https://api.example.com"}],
        "paths": {"/x": {"get": {"operationId": "fixed", "responses": {}, "parameters": [{"in": "header"} | API_KEY]}}},
    }
    with served_app(home, renderer, executor=None, log_level="debug", allow_mcp_stdio=True) as server:
        remember_replies(server.http, replies)
        with everything_logged(log, server.services.settings):
            for number in range(len(typed(""))):
                canary = "".join(source.choices(TEXT, k=24))
                wanted |= {*pieces(canary.encode()), *windows(canary)}
                path, body = typed(canary)[number]
                refused = server.http.post(path, json=body)
                assert refused.status_code == 400, body
            assert server.http.post("/v1/tools/import", json={"openapi": described}).status_code == 201
            canary = "".join(source.choices(TEXT, k=24))
            wanted |= set(pieces(canary.encode()))
            refused = server.http.patch("/v1/tools/fixed/draft", json={"fix": {"X-Api-Key": canary}})
            assert refused.status_code == 400, refused.text
            assert "--secret X-Api-Key=NAME" in refused.text
        assert server.http.get("/v1/tools").json()["data"] == []
        running = [(str(path), path.read_bytes()) for path in home.rglob("*") if path.is_file()]
    kept = [(str(path), path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()]
    assert {"hone.db", "server.log"} <= {Path(place).name for place, _ in kept}
    assert found_in([*running, *kept, *replies], wanted) == []


@pytest.mark.parametrize("around", ["{}", "Bearer {}", "?key={}&x=1", "a line\n{}\n"])
def test_the_search_finds_a_secret_however_it_is_written(around: str) -> None:
    secret = plant()[0]
    wanted = set(windows(secret.value))
    text = around.format(secret.value)
    encoded = [encode(text.encode()).decode() for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    for written in (
        text,
        text[:12] + secret.value[:12],
        repr(text),
        json.dumps(json.dumps(text)),
        quote(text),
        *encoded,
    ):
        assert found_in([("here", written.encode())], wanted) == ["here"], written
    assert found_in([("there", json.dumps([plant()[1].name, secret.name, secret.value[:7]]).encode())], wanted) == []
