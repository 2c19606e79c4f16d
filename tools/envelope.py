"""Seals the value of a secret: AES-256-GCM with a data key of its own, which a master key wraps in the same way.

Both layers are bound to the secret's name and version by associated data, so that neither a value nor a data key opens
in another row. Each data key seals one value, so its nonce cannot repeat; a master key may wrap 2^32 data keys before
random nonces become a risk (NIST SP 800-38D, 8.3). Pure: no files, no database.
"""

import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tools.errors import SecretLocked

KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True)
class MasterKey:
    material: bytes = field(repr=False)
    """32 bytes."""

    @classmethod
    def generate(cls) -> "MasterKey":
        return cls(AESGCM.generate_key(KEY_BYTES * 8))

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits that name the key and tell nothing of it."""
        return hmac.new(self.material, b"hone master key", hashlib.sha256).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is stored of one version of a secret; each part is nonce, ciphertext and tag in a row."""

    key_id: str
    """Of the master key that wraps the data key."""
    data_key: bytes = field(repr=False)
    value: bytes = field(repr=False)


def seal(value: str, name: str, version: int, key: MasterKey) -> Sealed:
    data_key = AESGCM.generate_key(KEY_BYTES * 8)
    return Sealed(
        key_id=key.id,
        data_key=_encrypt(key.material, data_key, _key_label(name, version, key)),
        value=_encrypt(data_key, value.encode(), _value_label(name, version)),
    )


def unseal(sealed: Sealed, name: str, version: int, key: MasterKey) -> str:
    """Raises: SecretLocked: it was sealed under another key, for another name or version, or was changed since."""
    try:
        data_key = _decrypt(key.material, sealed.data_key, _key_label(name, version, key))
        return _decrypt(data_key, sealed.value, _value_label(name, version)).decode()
    except (InvalidTag, ValueError) as e:
        raise _damaged(name, version) from e


def rewrap(sealed: Sealed, name: str, version: int, *, old: MasterKey, new: MasterKey) -> Sealed:
    """The same value under another master key; the value itself is not opened.

    Raises: SecretLocked: as `unseal`.
    """
    try:
        data_key = _decrypt(old.material, sealed.data_key, _key_label(name, version, old))
    except (InvalidTag, ValueError) as e:
        raise _damaged(name, version) from e
    return Sealed(new.id, _encrypt(new.material, data_key, _key_label(name, version, new)), sealed.value)


def _encrypt(key: bytes, plain: bytes, label: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, label)


def _decrypt(key: bytes, sealed: bytes, label: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], label)


def _value_label(name: str, version: int) -> bytes:
    return json.dumps(["hone", "value", name, version]).encode()


def _key_label(name: str, version: int, key: MasterKey) -> bytes:
    return json.dumps(["hone", "data key", name, version, key.id]).encode()


def _damaged(name: str, version: int) -> SecretLocked:
    return SecretLocked(
        f"the secret {name} (version {version}) does not open: its row was changed, or copied from another one; "
        f"restore the database from a backup, or set the secret again (hone secrets set {name})"
    )
