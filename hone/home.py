"""What commands share of one HONE_HOME: settings, database, stores, and the policy that measures candidates."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Engine

from runtime.access.audit import AuditLog
from runtime.access.keys import Keys
from runtime.agent.system_prompts import SystemPrompts
from runtime.approvals.store import ApprovalStore
from runtime.database import open_database
from runtime.policy.base import Policy
from runtime.policy.deployment import Deployment
from runtime.prompt import Renderer
from runtime.secrets import open_secret_store, secret_source
from runtime.settings import Settings, load_settings
from runtime.traces.store import TraceStore
from tools.catalogue import Catalogue
from tools.drafts import Drafts
from tools.holds import Holds
from tools.journal import Journal
from tools.secret_store import SecretStore
from tools.secrets import SecretSource
from tools.tenancy import Caller, acting


@dataclass(frozen=True)
class Home:
    settings: Settings
    engine: Engine

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.engine)

    @property
    def drafts(self) -> Drafts:
        return Drafts(self.engine)

    @property
    def holds(self) -> Holds:
        return Holds(self.engine)

    @property
    def journal(self) -> Journal:
        return Journal(self.engine)

    @property
    def secrets(self) -> SecretStore:
        return open_secret_store(self.settings, self.engine)

    @property
    def secret_source(self) -> SecretSource:
        return secret_source(self.secrets)

    @property
    def traces(self) -> TraceStore:
        return TraceStore(self.engine)

    @property
    def approvals(self) -> ApprovalStore:
        return ApprovalStore(self.engine)

    @property
    def keys(self) -> Keys:
        return Keys(self.engine)

    @property
    def system_prompts(self) -> SystemPrompts:
        return SystemPrompts(self.engine)

    @property
    def audit(self) -> AuditLog:
        return AuditLog(self.engine)

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.engine)


@contextmanager
def open_home(**given: Any) -> Iterator[Home]:
    """All that is done within is done for the tenant that the settings name (HONE_TENANT), as whoever is logged in.

    Args: given: settings that win over environment and file; None values are left out.
    """
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    settings.home.mkdir(parents=True, exist_ok=True)
    engine = open_database(settings.database)
    try:
        with acting(Caller(settings.tenant, _login(), "command line", keeps_shared=True)):
            yield Home(settings, engine)
    finally:
        engine.dispose()


def _login() -> str | None:
    """None: the system has no name for this user, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def load_policy(settings: Settings) -> Policy:
    from runtime.policy.embedded import EmbeddedPolicy

    return EmbeddedPolicy.load(settings.model, max_adapters=settings.max_adapters, threads=settings.threads)


def load_renderer(settings: Settings) -> Renderer:
    """As the server renders: what learning and measuring see is what serves."""
    return Renderer.load(settings.model, constrained=settings.constrained)
