"""Bearer tokens of an OpenID Connect provider: signed by it, for us, not run out; what they claim becomes tenant, user and role.

Its keys are fetched through the same way out as tools' calls, so a provider in a private network is named in
`allowed_networks`. They are kept for a while, and fetched again when a token names one that is not among them, but not more
often than now and then, so that made-up names cost nothing. What cannot be fetched leaves the ones from before in place.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2
import structlog
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from runtime.access.identity import KEY_USER, Identity, token_identity
from runtime.access.roles import Role, is_tenant
from runtime.errors import Forbidden, IssuerUnavailable, Unauthenticated
from runtime.settings import Settings
from tools.errors import DestinationRefused
from tools.tenancy import DEFAULT
from tools.transport import Outbound

log = structlog.get_logger(__name__)

KEPT_S = 600.0
"""How long fetched keys count without another look."""
APART_S = 10.0
"""Between two fetches, whatever tokens ask for."""
FETCH_LIMIT_S = 5.0
LEEWAY_S = 30
"""By which the provider's clock may differ."""
MAX_CHARS = 16_384


class OidcTokens:
    """Belongs to one event loop."""

    def __init__(self, settings: Settings, outbound: Outbound, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: settings: with an issuer and an audience."""
        assert settings.oidc_issuer is not None
        assert settings.oidc_audience is not None
        self._settings = settings
        self._issuer = settings.oidc_issuer
        self._client = outbound.client()
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._gate = asyncio.Lock()
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": settings.oidc_audience},
            exp={"essential": True},
        )

    async def identify(self, token: str) -> Identity:
        """
        Raises:
            Unauthenticated: it is no token for us; the message says why, never repeating it.
            Forbidden: what it claims stands for nobody here.
            IssuerUnavailable: the provider's keys cannot be had.
        """
        if len(token) > MAX_CHARS:
            raise Unauthenticated(f"the token has {len(token):,} characters; at most {MAX_CHARS:,} are read")
        claims = await self._verified(token)
        return token_identity(
            self._settings, user=self._user(claims), tenant=self._tenant(claims), role=self._role(claims)
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def _verified(self, token: str) -> Mapping[str, Any]:
        keys = await self._key_set(is_old=lambda: self._clock() - self._fetched_at >= KEPT_S)
        try:
            try:
                read = self._decode(token, keys)
            except InvalidKeyIdError:
                # the provider may have another key by now
                read = self._decode(token, await self._key_set(is_old=lambda: self._keys is keys))
            self._claims.validate(read.claims)
        except ExpiredTokenError as e:
            raise Unauthenticated("the token has run out: get another one") from e
        except (JoseError, ValueError, TypeError, KeyError) as e:
            raise Unauthenticated(f"the token does not count here: {type(e).__name__}: {e}") from e
        return read.claims

    def _decode(self, token: str, keys: KeySet) -> jwt.Token:
        # the algorithm is ours to choose, never the token's: all of them take public keys alone
        return jwt.decode(token, keys, algorithms=list(self._settings.oidc_algorithms))

    async def _key_set(self, *, is_old: Callable[[], bool]) -> KeySet:
        """Raises: IssuerUnavailable: there are none."""
        async with self._gate:
            now = self._clock()
            if is_old() and now - self._tried_at >= APART_S:
                self._tried_at = now
                try:
                    self._keys = await self._fetch()
                    self._fetched_at = now
                except (httpx2.HTTPError, DestinationRefused, OSError, JoseError, ValueError, TypeError, KeyError) as e:
                    log.error(
                        "keys of the identity provider not fetched",
                        issuer=self._issuer,
                        error=f"{type(e).__name__}: {e}",
                    )
            if self._keys is None:
                raise IssuerUnavailable(
                    f"the keys of {self._issuer} cannot be had (the server's log says why); a provider in a private network "
                    "is named in allowed_networks"
                )
            return self._keys

    async def _fetch(self) -> KeySet:
        url = self._settings.oidc_jwks_url
        if url is None:
            described = await self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if described.get("issuer") != self._issuer:
                raise ValueError(f"it calls itself {described.get('issuer')!r}")
            url = str(described["jwks_uri"])
        return KeySet.import_key_set(await self._get(url))  # type: ignore[arg-type]  # it checks what it is given

    async def _get(self, url: str) -> dict[str, Any]:
        async with asyncio.timeout(FETCH_LIMIT_S):
            answer = await self._client.get(url, headers={"accept": "application/json"})
        answer.raise_for_status()
        if not isinstance(body := answer.json(), dict):
            raise ValueError(f"{url} gave no JSON object")
        return body

    def _user(self, claims: Mapping[str, Any]) -> str:
        name = self._settings.oidc_user_claim
        user = next(_texts(_claim(claims, name)), "")
        if not user or len(user) > 256 or user.startswith(KEY_USER):
            raise Forbidden(f"the token's claim {name!r} names no user")
        return user

    def _tenant(self, claims: Mapping[str, Any]) -> str:
        name = self._settings.oidc_tenant_claim
        if name is None:
            return DEFAULT
        tenant = next(_texts(_claim(claims, name)), "")
        if not is_tenant(tenant):
            raise Forbidden(f"the token's claim {name!r} names no tenant: small letters, digits, - and _, at most 63")
        return tenant

    def _role(self, claims: Mapping[str, Any]) -> Role:
        """The highest that its groups stand for, else the usual one."""
        settings = self._settings
        groups = (
            set(_texts(_claim(claims, settings.oidc_role_claim))) if settings.oidc_role_claim is not None else set()
        )
        for role in reversed(Role):
            if any(settings.oidc_roles.get(group) == role.value for group in groups):
                return role
        if settings.oidc_default_role is None:
            raise Forbidden(f"none of the token's groups ({settings.oidc_role_claim}) has a role here")
        return Role(settings.oidc_default_role)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """By its name, or by a path of names (`realm_access.roles`)."""
    if name in claims:
        return claims[name]
    at: Any = claims
    for part in name.split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return at


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (part for part in value if isinstance(part, str))
