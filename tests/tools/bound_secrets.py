"""Secrets of the environment, bound to the servers of a test."""

from collections.abc import Mapping

from tools.secret_bounds import host_entry
from tools.secrets import HOSTS_PREFIX, PREFIX, EnvironmentSecrets


def bound_to(*urls: str, **values: str) -> EnvironmentSecrets:
    """By name; each may go to all of `urls`."""
    return EnvironmentSecrets(bound_environment(values, *urls))


def bound_environment(values: Mapping[str, str], *urls: str) -> dict[str, str]:
    hosts = ",".join(host_entry(url) for url in urls)
    secrets = {PREFIX + name: value for name, value in values.items()}
    return secrets | {HOSTS_PREFIX + name: hosts for name in values}
