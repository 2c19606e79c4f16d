"""Where the values of named secrets come from.

A tool's definition names its secrets; the value is looked up at each call, goes into the request, and is taken out of
whatever comes back. Only variables under one prefix can be named, so that no tool can send the server's own
environment (a cloud key, a database password) to an address of its developer's choice.
"""

import os
from collections.abc import Mapping
from typing import Protocol

from tools.outcome import failure

PREFIX = "HONE_SECRET_"


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
            )
        return value
