"""The stored secrets of one server's tools, and where their values are looked up, from its settings."""

from sqlalchemy import Engine

from runtime.settings import Settings
from tools.master_keys import GivenKeys, KeyFile, MasterKeys
from tools.secret_store import SecretStore
from tools.secrets import EnvironmentSecrets, SecretSource, StoredSecrets

KEY_FILE = "master.key"


def open_secret_store(settings: Settings, engine: Engine) -> SecretStore:
    return SecretStore(engine, _master_keys(settings))


def secret_source(store: SecretStore) -> SecretSource:
    """What calls ask: the store first, then the environment."""
    return StoredSecrets(store, EnvironmentSecrets())


def _master_keys(settings: Settings) -> MasterKeys:
    given = settings.master_key.get_secret_value() if settings.master_key is not None else ""
    return GivenKeys(given) if given else KeyFile(settings.home / KEY_FILE)
