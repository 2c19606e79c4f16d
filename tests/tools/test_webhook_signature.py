"""Signed calls, checked by the service with the public library."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.tools.bound_secrets import bound_to
from tests.tools.serving import serving, to_this_machine
from tools.execution import Executor
from tools.importers.http import http_tool
from tools.outcome import CallFault, CallResult
from tools.spec import CallStatus
from tools.webhook_signature import signature_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PARAMETERS = {"type": "object", "properties": {"drink": {"type": "string"}}}


class Careful:
    """Refuses whom it cannot verify; its first answer to those whom it can is 503."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> Response:
        try:
            Webhook(SECRET).verify(await request.body(), dict(request.headers), json_parse=False)
        except WebhookVerificationError as e:
            return JSONResponse({"error": str(e)}, status_code=403)
        self.ids.append(request.headers["webhook-id"])
        return JSONResponse({"ok": True}, status_code=503 if len(self.ids) == 1 else 200)


@pytest.fixture
def careful() -> Careful:
    return Careful()


@pytest.fixture
def url(careful: Careful) -> Iterator[str]:
    with serving(careful.app()) as base:
        yield base


async def call(url: str, secret: str | None = SECRET, method: str = "POST", **endpoint: Any) -> CallResult:
    definition = {
        "name": "order",
        "parameters": PARAMETERS,
        "endpoint": {"url": url, "method": method, **endpoint},
        "side_effect": "idempotent",
    }
    secrets = bound_to(url) if secret is None else bound_to(url, SIGNING=secret)
    executor = Executor(outbound=to_this_machine(), secrets=secrets)
    try:
        return await executor.run(http_tool(definition), {"drink": "thé"}, call_id="call_7")
    finally:
        await executor.close()


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_the_service_verifies_who_calls_and_sees_one_id_at_each_attempt(
    careful: Careful, url: str, method: str
) -> None:
    result = await call(url, signing_secret="SIGNING", method=method)
    assert result.status is CallStatus.OK, result.content
    assert careful.ids == ["call_7", "call_7"]


async def test_without_a_signature_or_with_another_key_the_service_refuses(careful: Careful, url: str) -> None:
    assert (await call(url)).status is CallStatus.REJECTED
    other = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
    assert (await call(url, other, signing_secret="SIGNING")).status is CallStatus.REJECTED
    assert careful.ids == []


@pytest.mark.parametrize("secret", [None, "whsec_", "whsec_!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
async def test_an_unusable_secret_is_named_and_not_shown(careful: Careful, url: str, secret: str | None) -> None:
    result = await call(url, secret, signing_secret="SIGNING")
    assert result.status is CallStatus.FAILED
    assert "SIGNING" in result.content
    assert "MfKQ" not in result.content
    assert careful.ids == []


def test_the_signature_is_the_one_of_the_standards_example() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, spec, "Signature scheme"
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = signature_headers("S", SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', at)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_body_that_is_no_text_is_refused() -> None:
    with pytest.raises(CallFault, match="cannot be signed"):
        signature_headers("S", SECRET, "id", b"\xff", datetime.now(UTC))


async def test_headers_of_a_signature_are_ours_to_set() -> None:
    from tools.errors import BadToolSpec

    endpoint = {"url": "https://example.com/", "headers": {"Webhook-Id": "mine"}}
    with pytest.raises(BadToolSpec, match="Webhook-Id"):
        http_tool({"name": "order", "parameters": PARAMETERS, "endpoint": endpoint})
