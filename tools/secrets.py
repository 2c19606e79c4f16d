"""Where the values of named secrets come from: the store, then the environment.

A tool's definition names its secrets; the value is looked up at each call, goes into the request, and is taken out of
whatever comes back. Only variables under one prefix can be named, so that no tool can send the server's own
environment (a cloud key, a database password) to an address of its developer's choice.
"""

import logging
import os
from collections.abc import Mapping
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from tools.errors import SecretError
from tools.outcome import failure
from tools.secret_store import SecretStore

PREFIX = "HONE_SECRET_"
_LOG = logging.getLogger(__name__)


class SecretSource(Protocol):
    def get(self, name: str) -> str:
        """Raises: CallFault: there is no such secret; the message says how to set it."""
        ...


class EnvironmentSecrets:
    """The secret `PETS` is the variable `HONE_SECRET_PETS`."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    def get(self, name: str) -> str:
        value = self._environment.get(PREFIX + name, "").strip()
        if not value:
            raise failure(
                f"the secret {name} is not set: the operator must set {PREFIX}{name} in the server's environment"
                f", or store it with hone secrets set {name}"
            )
        return value


class StoredSecrets:
    """The store's value where it has one, else another source's."""

    def __init__(self, store: SecretStore, otherwise: SecretSource) -> None:
        self._store = store
        self._otherwise = otherwise

    def get(self, name: str) -> str:
        try:
            value = self._store.find(name)
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
        return value if value is not None else self._otherwise.get(name)
