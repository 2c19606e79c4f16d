"""Who may use which route: the one table that says it, and what a credential is held against.

Each route of the app stands in `ROUTES`, or the app does not start. A role holds the rights of those before it. What all
tenants share (adapters, the master key, figures of the whole server) is the server operator's: an operator of the default
tenant.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from runtime.errors import BadRequest
from tools.tenancy import DEFAULT, NAME, SHARED


class Role(StrEnum):
    USER = "user"
    """Talks to the agent; sees its own turns and answers its own questions."""
    DEVELOPER = "developer"
    """Registers tools of the tenant, and sees how they are used."""
    OPERATOR = "operator"
    """Keeps the tenant's keys and secrets, reads its audit log, erases."""

    def holds(self, other: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)


class Scope(StrEnum):
    """Groups of routes, to which a credential may be narrowed."""

    CHAT = "chat"
    TOOLS = "tools"
    SECRETS = "secrets"
    TRACES = "traces"
    APPROVALS = "approvals"
    ADAPTERS = "adapters"
    KEYS = "keys"
    AUDIT = "audit"
    SETTINGS = "settings"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Need:
    """What a route asks for."""

    role: Role
    scope: Scope
    of_server: bool = False
    """Beside the role: of the default tenant."""
    runs_turn: bool = False
    """It makes the agent work, so it counts against the limits."""


OPEN = None
"""Anybody may."""

_CHAT = Need(Role.USER, Scope.CHAT)
_TURN = Need(Role.USER, Scope.CHAT, runs_turn=True)
_TOOLS = Need(Role.DEVELOPER, Scope.TOOLS)
_SECRETS = Need(Role.OPERATOR, Scope.SECRETS)
_TRACES = Need(Role.USER, Scope.TRACES)
_APPROVALS = Need(Role.USER, Scope.APPROVALS)
_ADAPTERS = Need(Role.OPERATOR, Scope.ADAPTERS, of_server=True)
_SETTINGS = Need(Role.OPERATOR, Scope.SETTINGS)
_KEYS = Need(Role.OPERATOR, Scope.KEYS)

ROUTES: Mapping[tuple[str, str], Need | None] = {
    ("GET", "/"): OPEN,
    ("GET", "/static"): OPEN,
    ("GET", "/tools"): _CHAT,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/livez"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): Need(Role.OPERATOR, Scope.METRICS, of_server=True),
    ("POST", "/v1/chat/completions"): _TURN,
    ("POST", "/v1/responses"): _TURN,
    ("GET", "/v1/responses/{response_id}"): _CHAT,
    ("DELETE", "/v1/responses/{response_id}"): _CHAT,
    ("GET", "/v1/models"): _CHAT,
    ("GET", "/v1/models/{name}"): _CHAT,
    ("GET", "/v1/whoami"): _CHAT,
    ("GET", "/v1/tools"): _TOOLS,
    ("POST", "/v1/tools"): _TOOLS,
    ("POST", "/v1/tools/import"): _TOOLS,
    ("GET", "/v1/tools/{name}"): _TOOLS,
    ("DELETE", "/v1/tools/{name}"): _TOOLS,
    ("GET", "/v1/tools/{name}/draft"): _TOOLS,
    ("PATCH", "/v1/tools/{name}/draft"): _TOOLS,
    ("DELETE", "/v1/tools/{name}/draft"): _TOOLS,
    ("POST", "/v1/tools/{name}/publish"): _TOOLS,
    ("POST", "/v1/tools/{name}/test"): _TOOLS,
    ("GET", "/v1/tools/{name}/diff"): _TOOLS,
    ("POST", "/v1/tools/{name}/accept"): _TOOLS,
    ("POST", "/v1/tools/{name}/disable"): _TOOLS,
    ("POST", "/v1/tools/{name}/enable"): _TOOLS,
    ("GET", "/v1/tools/{name}/report"): _TOOLS,
    ("GET", "/v1/tools/{name}/lint"): _TOOLS,
    ("GET", "/v1/tool-drafts"): _TOOLS,
    ("GET", "/v1/tool-lint"): _TOOLS,
    ("GET", "/v1/tool-calls"): _TOOLS,
    ("GET", "/v1/tool-calls/{call_id}"): _TOOLS,
    ("POST", "/v1/tool-calls/{call_id}/settle"): _TOOLS,
    ("DELETE", "/v1/tool-calls"): Need(Role.OPERATOR, Scope.TOOLS),
    ("GET", "/v1/secrets"): _SECRETS,
    ("PUT", "/v1/secrets/{name}"): _SECRETS,
    ("DELETE", "/v1/secrets/{name}"): _SECRETS,
    ("POST", "/v1/secrets/rotate-key"): Need(Role.OPERATOR, Scope.SECRETS, of_server=True),
    ("GET", "/v1/traces"): _TRACES,
    ("GET", "/v1/traces/{trace_id}"): _TRACES,
    ("DELETE", "/v1/threads/{thread_id}"): Need(Role.OPERATOR, Scope.TRACES),
    ("GET", "/v1/approvals"): _APPROVALS,
    ("GET", "/v1/approvals/{approval_id}"): _APPROVALS,
    ("POST", "/v1/approvals/{approval_id}/{verdict}"): Need(Role.USER, Scope.APPROVALS, runs_turn=True),
    ("GET", "/v1/adapters"): _ADAPTERS,
    ("POST", "/v1/adapters/rollback"): _ADAPTERS,
    ("POST", "/v1/adapters/{name}/promote"): _ADAPTERS,
    ("GET", "/v1/keys"): _KEYS,
    ("POST", "/v1/keys"): _KEYS,
    ("GET", "/v1/keys/{prefix}"): _KEYS,
    ("POST", "/v1/keys/{prefix}/rotate"): _KEYS,
    ("POST", "/v1/keys/{prefix}/revoke"): _KEYS,
    ("GET", "/v1/system-prompt"): _SETTINGS,
    ("PUT", "/v1/system-prompt"): _SETTINGS,
    ("DELETE", "/v1/system-prompt"): _SETTINGS,
    ("GET", "/v1/audit"): Need(Role.OPERATOR, Scope.AUDIT),
}
"""Method and path, as the app declares them; HEAD is as GET."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a credential may do."""

    role: Role
    tenant: str
    scopes: frozenset[str] = frozenset()
    """Empty: all."""

    @property
    def is_of_server(self) -> bool:
        return self.role is Role.OPERATOR and self.tenant == DEFAULT

    def lacks(self, need: Need) -> str | None:
        """What keeps it from a route, with the remedy; None: nothing."""
        if not self.role.holds(need.role):
            return f"this needs the role {need.role}, and the credential has {self.role}; use one of an {need.role}"
        if self.scopes and need.scope.value not in self.scopes:
            return (
                f"this needs the scope {need.scope}, and the credential is for {', '.join(sorted(self.scopes))} alone"
            )
        if need.of_server and not self.is_of_server:
            return f"this concerns all tenants, so it needs an operator of the tenant {DEFAULT!r}"
        return None


def is_tenant(name: str) -> bool:
    """Whether somebody may be of a tenant of that name."""
    return re.fullmatch(NAME, name) is not None and name != SHARED


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """In order, each once. Raises: BadRequest: naming one that there is not."""
    for scope in scopes:
        if scope not in list(Scope):
            raise BadRequest(f"scopes: there is no scope {scope!r}; there are: {', '.join(Scope)}", param="scopes")
    return tuple(sorted(set(scopes)))
