"""No reach into the private network: every vector, by every way out, against a server that notes any connection.

Each way is the real one, over real sockets. Only the name server is ours, handed in through the constructor: it knows
the vectors' names and asks the system about the rest.
"""

import contextlib
from collections.abc import Iterator, Sequence

import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from tests.tools.bound_secrets import bound_to
from tests.tools.raw_server import RawServer, raw_server
from tests.tools.serving import serving
from tests.tools.ssrf_vectors import VECTORS, Vector
from tools.destinations import AllowList
from tools.documents import fetch_document
from tools.errors import BadToolSpec, DestinationRefused, ImportFailed
from tools.execution import Executor
from tools.importers.http import http_tool
from tools.importers.mcp import survey
from tools.spec import (
    Backend,
    CallStatus,
    ClientCredentialsAuth,
    HttpBackend,
    McpBackend,
    McpHttpServer,
    RequestLayout,
    ToolSpec,
)
from tools.transport import Outbound, SystemResolver

START = "start.example"


@pytest.fixture(scope="module")
def canary() -> Iterator[RawServer]:
    with raw_server() as server:
        yield server


@pytest.fixture(scope="module")
def start_port() -> Iterator[int]:
    """A third party's server that may be called and answers as a vector tells it."""
    app = FastAPI()

    @app.api_route("/to", methods=["GET", "POST"])
    async def to(status: int, location: str) -> Response:
        return Response(status_code=status, headers={"location": location})

    @app.api_route("/refresh", methods=["GET", "POST"])
    async def refresh(to: str) -> Response:
        return Response(
            "{}", headers={"refresh": f"0; url={to}", "content-location": to, "link": f'<{to}>; rel="next"'}
        )

    @app.api_route("/unauthorized", methods=["GET", "POST"])
    async def unauthorized(metadata: str, request: Request) -> Response:
        return Response(status_code=401, headers={"www-authenticate": f'Bearer resource_metadata="{metadata}"'})

    with serving(app) as url:
        yield int(url.rpartition(":")[2])


class NameServer:
    """Answers each name's look-ups in turn, the last answer again and again."""

    def __init__(self, answers: dict[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(given) for name, given in answers.items()}
        self._system = SystemResolver()
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        if name == "localhost" or not name.endswith((".example", ".internal", "_score")):
            return await self._system(name)
        if name not in self._answers:
            raise OSError(f"no host {name}")
        given = self._answers[name]
        return given.pop(0) if len(given) > 1 else given[0]


def written(vector: Vector, canary: RawServer, start: str) -> str:
    return vector.url.replace("PORT", str(canary.port)).replace("START", start)


def backends(url: str, harmless: str) -> Iterator[Backend]:
    """The ways in which a tool can be made to call `url`."""
    yield HttpBackend(url=url, method="GET")
    yield HttpBackend(url=url, method="POST")
    yield HttpBackend(url=url, method="GET", layout=RequestLayout())
    yield McpBackend(server=McpHttpServer(url=url), remote_name="x")
    with contextlib.suppress(ValidationError):  # some are no token URL to begin with
        yield HttpBackend(url=harmless, auth=(ClientCredentialsAuth(token_url=url, secret="PAIR"),))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector.name for vector in VECTORS])
async def test_no_way_out_leads_to_the_private_network(vector: Vector, canary: RawServer, start_port: int) -> None:
    url = written(vector, canary, f"{START}:{start_port}")
    names = NameServer({**vector.answers, START: (["127.0.0.1"],)})
    outbound = Outbound(AllowList.parse([f"{START}:{start_port}"]), resolve=names)
    before = canary.visits()

    try:
        await outbound.check(url)
        assert vector.passes_registration, "it was taken at registration"
    except DestinationRefused:
        assert not vector.passes_registration

    executor = Executor(outbound=outbound, secrets=bound_to(url, f"http://{START}:{start_port}", PAIR="ann:p@ss"))
    for backend in backends(url, f"http://{START}:{start_port}/refresh?to="):
        spec = ToolSpec(name="x", parameters={"type": "object"}, backend=backend, timeout_s=10)
        result = await executor.run(spec, {}, call_id="c1")
        if "refresh" not in vector.name and " 201 " not in f" {vector.name} ":  # those answer, and lead nowhere
            assert result.status in (CallStatus.FAILED, CallStatus.REJECTED), result.content
    await executor.close()
    with pytest.raises((DestinationRefused, ImportFailed, BadToolSpec)):  # the last: it carries a password
        await survey(McpHttpServer(url=url), outbound, open_limit_s=10)
    if "refresh" not in vector.name:
        with pytest.raises((DestinationRefused, ImportFailed, BadToolSpec)):  # the last: it carries a password
            await fetch_document(outbound, url)

    assert canary.visits() - before == 0


async def test_without_the_guard_the_same_vectors_do_reach_it(canary: RawServer, start_port: int) -> None:
    """Else the table above would prove nothing."""
    reached = []
    dangerous = [vector for vector in VECTORS if vector.reaches]
    for vector in dangerous:
        before = canary.visits()
        async with httpx2.AsyncClient(follow_redirects=True, trust_env=False, timeout=5) as client:
            with contextlib.suppress(httpx2.TransportError):  # https to a server that speaks none reaches it too
                await client.get(written(vector, canary, f"127.0.0.1:{start_port}"))
        if canary.visits() > before:
            reached.append(vector)
    assert reached == dangerous
    assert len(reached) >= 30
    assert len(VECTORS) >= 60


def test_a_schema_that_refers_to_the_private_network_is_refused_unread(canary: RawServer) -> None:
    before = canary.visits()
    for reference in (
        f"http://127.0.0.1:{canary.port}/schema.json",
        f"//127.0.0.1:{canary.port}/s",
        "file:///etc/hosts",
    ):
        parameters = {"type": "object", "properties": {"a": {"$ref": reference}}}
        with pytest.raises(BadToolSpec, match=r"properties\.a"):
            http_tool({"name": "x", "parameters": parameters, "endpoint": {"url": "https://public.example/"}})
    assert canary.visits() == before
