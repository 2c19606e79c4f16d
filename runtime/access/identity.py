"""Who sends a request: a key, a token of an identity provider, or whoever sits at the machine of a server that is open."""

import re
from dataclasses import dataclass, replace

from runtime.access.keys import ApiKey, KeyLimits
from runtime.access.limits import Measure, Payer
from runtime.access.roles import Role, Standing
from runtime.errors import Forbidden
from runtime.settings import Settings
from tools.tenancy import DEFAULT, NAME, Caller

KEY_USER = "key:"
"""How the users begin that are keys; no token's user does."""


@dataclass(frozen=True, slots=True)
class Identity:
    caller: Caller
    standing: Standing
    payers: tuple[Payer, ...]
    acts_for_others: bool = False

    def in_tenant(self, tenant: str | None) -> "Identity":
        """The same person at work in another tenant. Raises: Forbidden: that is for the server's operator."""
        if tenant is None or tenant == self.caller.tenant:
            return self
        if not self.standing.is_of_server:
            raise Forbidden(f"x-hone-tenant: {tenant!r}: only an operator of the tenant {DEFAULT!r} may act in another")
        if not re.fullmatch(NAME, tenant):
            raise Forbidden(f"x-hone-tenant: {tenant!r} is no name of a tenant")
        return replace(self, caller=replace(self.caller, tenant=tenant))

    def for_user(self, user: object) -> Caller:
        """Who acts, where the request names a user: that one, if the credential may and it is a name; else the credential's
        own."""
        is_name = isinstance(user, str) and user.strip() and user.isprintable()
        return replace(self.caller, user=str(user)[:256]) if is_name and self.acts_for_others else self.caller


def open_identity(settings: Settings) -> Identity:
    """Whoever reaches a server that has no keys: its operator."""
    standing = Standing(Role.OPERATOR, DEFAULT)
    return Identity(
        Caller(DEFAULT, via="open server", keeps_shared=True),
        standing,
        (_tenant(settings, DEFAULT),),
        acts_for_others=True,
    )


def key_identity(settings: Settings, key: ApiKey) -> Identity:
    is_confined = key.role is Role.USER and not key.acts_for_others
    user, via = f"{KEY_USER}{key.prefix}", f"key {key.prefix}"
    caller = Caller(key.tenant, user, via, is_confined, keeps_shared=key.standing.is_of_server)
    payer = Payer(f"key {key.prefix}", _measure(settings, key.limits))
    return Identity(caller, key.standing, (payer, _tenant(settings, key.tenant)), key.acts_for_others)


def token_identity(settings: Settings, *, user: str, tenant: str, role: Role) -> Identity:
    standing = Standing(role, tenant)
    caller = Caller(tenant, user, "oidc", is_confined=role is Role.USER, keeps_shared=standing.is_of_server)
    payer = Payer(f"user {tenant}/{user}", _measure(settings, KeyLimits()))
    return Identity(caller, standing, (payer, _tenant(settings, tenant)))


def _measure(settings: Settings, own: KeyLimits) -> Measure:
    return Measure(
        own.requests_per_minute or settings.key_requests_per_minute,
        own.tokens_per_minute or settings.key_tokens_per_minute,
        own.concurrency or settings.key_concurrency,
    )


def _tenant(settings: Settings, tenant: str) -> Payer:
    bounds = Measure(
        settings.tenant_requests_per_minute, settings.tenant_tokens_per_minute, settings.tenant_concurrency
    )
    return Payer(f"tenant {tenant}", bounds)
