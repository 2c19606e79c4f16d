"""What one server is made of, as routes see it; `runtime.app` puts it together."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import Request
from sqlalchemy.engine import Engine

from runtime.access.audit import AuditLog
from runtime.access.identity import Identity
from runtime.access.keys import Keys
from runtime.access.limits import Limits, WaitingRoom
from runtime.agent.answers import Answers
from runtime.agent.nodes import ToolExecutor
from runtime.agent.system_prompts import SystemPrompts
from runtime.agent.threads import Threads
from runtime.agent.turns import Served, Turns
from runtime.approvals.store import ApprovalStore
from runtime.erasure import Erasure
from runtime.policy.base import Policy
from runtime.policy.deployment import Deployment
from runtime.policy.swap import SwapStatus
from runtime.settings import Settings
from runtime.telemetry.metrics import Metrics
from runtime.traces.store import TraceStore
from tools.catalogue import Catalogue
from tools.drafts import Drafts
from tools.holds import Holds
from tools.journal import Journal
from tools.secret_store import SecretStore
from tools.secrets import SecretSource
from tools.transport import Outbound


class TokenReader(Protocol):
    """Reads the tokens of an identity provider."""

    async def identify(self, token: str) -> Identity:
        """Raises: Unauthenticated."""
        ...


class LivePointer(Protocol):
    """What serves now, and how that came about."""

    def current(self) -> Served: ...

    async def refresh(self) -> Any: ...

    def status(self) -> SwapStatus: ...


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    engine: Engine
    policy: Policy
    catalogue: Catalogue
    drafts: Drafts
    secrets: SecretStore
    secret_source: SecretSource
    """What calls ask for secrets, and registration for their bounds."""
    journal: Journal
    holds: Holds
    outbound: Outbound
    """What registration may call; the executor's calls go through the same."""
    traces: TraceStore
    deployment: Deployment
    live: LivePointer
    executor: ToolExecutor
    turns: Turns
    approvals: ApprovalStore
    answers: Answers
    threads: Threads
    system_prompts: SystemPrompts
    erasure: Erasure
    keys: Keys
    audit: AuditLog
    limits: Limits
    waiting_room: WaitingRoom
    """The places of running turns."""
    oidc: TokenReader | None
    """None: no identity provider is set."""
    followers: Mapping[str, asyncio.Task[None]]
    """What goes on in the background as long as the server runs; one that is done has broken."""
    metrics: Metrics | None
    """None: they are switched off."""


async def services(request: Request) -> Services:
    """FastAPI dependency. Asynchronous, as all are that wait for nothing: others run in a thread."""
    return request.app.state.services
