"""Puts a tool's credentials on a request: API key, bearer, basic, OAuth2 client credentials.

Values come from the secret source at each call, each for the address that it is about to go to, and are held in memory
alone; a fetched token is kept until shortly before it ends.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import httpx2

from tools.destinations import AllowList
from tools.errors import DestinationRefused
from tools.outcome import CallFault, failure
from tools.redaction import Redaction
from tools.request_layout import LaidOut, credential_pair, with_query
from tools.request_secrets import server_uses, token_uses
from tools.secret_bounds import Use
from tools.secrets import SecretSource
from tools.spec import ApiKeyAuth, Auth, BasicAuth, BearerAuth, ClientCredentialsAuth, McpHttpServer, McpStdioServer
from tools.transport import public_form

_MARGIN_S = 30.0
"""A token is renewed this long before it ends, so that it does not end on its way."""
_DEFAULT_LIFE_S = 300.0
"""Where the server does not say how long a token lives (RFC 6749, 5.1 only recommends that it does)."""
_MAX_TOKEN_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    pair: str = field(repr=False)
    """The credentials that it was fetched with: others, once the secret is changed, need a token of their own."""
    ends: float
    """On the clock of `Credentials`."""


class Credentials:
    """The one owner of fetched tokens, and the one who is given values of secrets."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        secrets: SecretSource,
        *,
        allowed: AllowList | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            client: asks for tokens.
            allowed: the hosts that may get a secret over http; None: none.
        """
        self._client = client
        self._secrets = secrets
        self._allowed = allowed if allowed is not None else AllowList()
        self._clock = clock
        self._tokens: dict[ClientCredentialsAuth, _Token] = {}
        self._locks: dict[ClientCredentialsAuth, asyncio.Lock] = {}

    async def secret(self, redaction: Redaction, *uses: Use) -> str:
        """A secret as a value of its own; from here on `redaction` covers it.

        Args:
            uses: all places that it, or what it is worth, is about to go to.

        Raises: CallFault: it is not set, may not go there, or no request can carry it.
        """
        name = uses[0].secret
        found = await asyncio.to_thread(self._secrets.get, name)  # it may wait for a database
        for use in uses:
            fault = found.bounds.fault(use, self._allowed)
            if fault is not None:
                raise failure(f"nothing was sent: the secret {name}: {fault}")
        redaction.cover(found.value, name)
        if not found.value.isascii() or not found.value.isprintable():
            raise failure(f"the secret {name} holds characters that a header cannot carry; set it again")
        return found.value

    async def apply(
        self, auths: Sequence[Auth], request: LaidOut, redaction: Redaction, *, tool: str | None
    ) -> LaidOut:
        """The request with all of `auths`.

        Args:
            tool: whose call it is; None: a connection that several tools share.

        Raises: CallFault: a secret is missing, unusable or not for this address, or no token could be fetched.
        """
        to = request.url
        for auth in auths:
            match auth:
                case ApiKeyAuth():
                    request = _with_key(request, auth, await self.secret(redaction, Use(auth.secret, to, tool)))
                case BearerAuth():
                    value = await self.secret(redaction, Use(auth.secret, to, tool))
                    request = _authorized(request, f"Bearer {value}")
                case BasicAuth():
                    pair = await self._pair(redaction, "user:password", Use(auth.secret, to, tool))
                    request = _authorized(request, f"Basic {base64.b64encode(pair.encode()).decode()}")
                case ClientCredentialsAuth():
                    token = await self._token(auth, redaction, *token_uses(auth, to, tool))
                    request = _authorized(request, f"Bearer {token}")
        return request

    async def environment(self, server: McpStdioServer, redaction: Redaction) -> dict[str, str]:
        """All variables that an MCP server over stdio is started with. Raises: CallFault: as `secret`."""
        uses = dict(zip(server.secret_env, server_uses(server, None), strict=True))
        return server.env | {name: await self.secret(redaction, use) for name, use in uses.items()}

    async def check(self, server: McpStdioServer | McpHttpServer, tool: str | None) -> None:
        """Raises: CallFault: a secret that the server takes is missing, or not for it or this tool."""
        for use in server_uses(server, tool):
            await self.secret(Redaction(), use)

    def forget(self, auths: Sequence[Auth]) -> None:
        """The service refused the credentials: the next call fetches new tokens."""
        for auth in auths:
            if isinstance(auth, ClientCredentialsAuth):
                self._tokens.pop(auth, None)

    async def _pair(self, redaction: Redaction, form: str, *uses: Use) -> str:
        name = uses[0].secret
        pair = await self.secret(redaction, *uses)
        redaction.cover_pair(pair, name)
        if ":" not in pair:
            raise failure(f"the secret {name} is not written as {form}; set it again")
        return pair

    async def _token(self, auth: ClientCredentialsAuth, redaction: Redaction, *uses: Use) -> str:
        pair = await self._pair(redaction, "client_id:client_secret", *uses)
        # One request fetches, the others that came meanwhile wait for it.
        async with self._locks.setdefault(auth, asyncio.Lock()):
            token = self._tokens.get(auth)
            if token is None or token.pair != pair or token.ends <= self._clock():
                token = await self._fetch(auth, pair, redaction)
                self._tokens[auth] = token
        redaction.cover(token.value, auth.secret)
        return token.value

    async def _fetch(self, auth: ClientCredentialsAuth, pair: str, redaction: Redaction) -> _Token:
        client_id, _, client_secret = pair.partition(":")
        # RFC 6749, 2.3.1: both are form-encoded before they become Basic credentials
        encoded = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        redaction.cover_pair(encoded, auth.secret)
        form = {"grant_type": "client_credentials", **({"scope": " ".join(auth.scopes)} if auth.scopes else {})}
        headers = {
            "authorization": f"Basic {base64.b64encode(encoded.encode()).decode()}",
            "accept": "application/json",
        }
        asked = self._clock()
        try:
            request = self._client.build_request("POST", auth.token_url, data=form, headers=headers, timeout=None)
            response = await self._client.send(request, stream=True, follow_redirects=False)
            try:
                body = await _bounded(response)
            finally:
                await response.aclose()
        except DestinationRefused as e:
            raise failure(f"{public_form(auth.token_url)} was not asked for a token: {e}") from e
        except (httpx2.HTTPError, httpx2.InvalidURL) as e:
            told = redaction.clean(str(e)) or type(e).__name__
            raise failure(f"no token from {public_form(auth.token_url)}: {told}") from e
        return _read_token(auth, pair, response.status_code, body, asked)


async def _bounded(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _MAX_TOKEN_BYTES:
            break
    return bytes(body)


def _read_token(auth: ClientCredentialsAuth, pair: str, status: int, body: bytes, asked: float) -> _Token:
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    value, life = fields.get("access_token"), fields.get("expires_in")
    if status != 200 or not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
        raise _no_token(auth, status, fields)
    seconds = float(life) if isinstance(life, int | float) and not isinstance(life, bool) else _DEFAULT_LIFE_S
    return _Token(value, pair, asked + max(seconds - _MARGIN_S, 0.0))


def _no_token(auth: ClientCredentialsAuth, status: int, fields: dict[str, Any]) -> CallFault:
    code = fields.get("error")  # RFC 6749, 5.2
    told = f" ({code})" if isinstance(code, str) else ""
    return failure(
        f"{public_form(auth.token_url)} answered {status}{told} and gave no token: the operator must check the secret {auth.secret}"
    )


def _authorized(request: LaidOut, value: str) -> LaidOut:
    headers = {**request.headers, "authorization": value}
    return LaidOut(request.url, headers, request.cookies, request.content)


def _with_key(request: LaidOut, auth: ApiKeyAuth, value: str) -> LaidOut:
    pair = credential_pair(auth.name, value)
    match auth.place:
        case "query":
            return LaidOut(with_query(request.url, [pair]), request.headers, request.cookies, request.content)
        case "cookie":
            return LaidOut(request.url, request.headers, (*request.cookies, "=".join(pair)), request.content)
        case "header":
            headers = {**request.headers, auth.name: value}
            return LaidOut(request.url, headers, request.cookies, request.content)
