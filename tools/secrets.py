"""Where the values of named secrets come from, and where each may be sent: the store, then the environment.

A tool's definition names its secrets; the value is looked up at each call, goes into the request, and is taken out of
whatever comes back. Only variables under one prefix can be named, so that no tool can send the server's own
environment (a cloud key, a database password) anywhere. A value is never handed out without its bounds
(`tools.secret_bounds`).
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from tools.errors import BadSecret, SecretError
from tools.outcome import failure
from tools.secret_bounds import Bounds
from tools.secret_store import SecretStore
from tools.tenancy import DEFAULT, SHARED, caller

PREFIX = "HONE_SECRET_"
HOSTS_PREFIX = "HONE_HOSTS_"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BoundSecret:
    value: str = field(repr=False)
    bounds: Bounds


class SecretSource(Protocol):
    def get(self, name: str) -> BoundSecret:
        """Raises: CallFault: there is no such secret; the message says how to set it."""
        ...

    def bounds(self, name: str) -> Bounds | None:
        """Where a secret may be sent, without opening it; None: it is not set.

        Raises: BadSecret: what names its hosts cannot be read.
        """
        ...


class EnvironmentSecrets:
    """The secret `PETS` is the variable `HONE_SECRET_PETS`; `HONE_HOSTS_PETS` names its hosts, with commas."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    def get(self, name: str) -> BoundSecret:
        value = self._value(name)
        if not value:
            raise failure(
                f"the secret {name} is not set: the operator must set {PREFIX}{name} and {HOSTS_PREFIX}{name} in the "
                f"server's environment, or store it with hone secrets set {name} --host HOST"
            )
        try:
            return BoundSecret(value, self._bounds(name))
        except BadSecret as e:
            raise failure(str(e)) from e

    def bounds(self, name: str) -> Bounds | None:
        return self._bounds(name) if self._value(name) else None

    def _value(self, name: str) -> str:
        who = caller()
        if who is not None and who.tenant not in (DEFAULT, SHARED):
            return ""  # the environment is the operator's: other tenants have what they have stored
        return self._environment.get(PREFIX + name, "").strip()

    def _bounds(self, name: str) -> Bounds:
        variable = HOSTS_PREFIX + name
        hosts = [part for part in self._environment.get(variable, "").split(",") if part.strip()]
        try:
            return Bounds.parse(hosts, variable=variable)
        except ValueError as e:
            raise BadSecret(f"{variable}: {e}") from e


class StoredSecrets:
    """The store's value where it has one, else another source's."""

    def __init__(self, store: SecretStore, otherwise: SecretSource) -> None:
        self._store = store
        self._otherwise = otherwise

    def get(self, name: str) -> BoundSecret:
        try:
            found = self._store.find(name)
        except SecretError as e:
            # The other source is not asked: its value may be one that the stored one has replaced.
            _LOG.error("the secret %s cannot be opened: %s", name, e)
            raise failure(
                f"the secret {name} is stored, but this server cannot open it: the operator must mend its master key "
                "(the server's log says how)"
            ) from None
        except SQLAlchemyError as e:
            _LOG.error("the secret %s cannot be looked up: %s", name, e)
            raise failure(f"the secret {name} cannot be looked up: the server's database failed; try again") from None
        return BoundSecret(*found) if found is not None else self._otherwise.get(name)

    def bounds(self, name: str) -> Bounds | None:
        found = self._store.bounds(name)
        return found if found is not None else self._otherwise.bounds(name)
