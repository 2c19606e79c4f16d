"""API keys: `hone_<prefix>_<secret>`, made once, shown once, kept as a digest.

The secret is 256 bits from the system's random source, so a plain SHA-256 keeps it: guessing is hopeless at any speed, and
what makes argon2 slow guards words that people choose, at the price of a tenth of a second of each request.
"""

import builtins
import hashlib
import hmac
import re
import secrets as random_source
import string
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from runtime.access.roles import Role, Standing, check_scopes, is_tenant
from runtime.access.tables import api_keys
from runtime.database import Clock, reading, utc_now, writing
from runtime.errors import BadRequest, KeyNotFound, KeySpent
from tools.audit_trail import note
from tools.tenancy import SHARED, acting, caller

FRESH_S = 2.0
"""How long a key that was looked up counts as it was: a revocation is heard of within this."""
_MOST_KNOWN = 10_000
_ALPHABET = string.ascii_letters + string.digits
_KEY = re.compile(r"hone_([0-9a-z]{8})_([0-9A-Za-z]{43})")
_c = api_keys.c
_SHOWN = [column for column in _c if column.name not in ("sha256", "former_sha256")]


class KeyState(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may use; None: as the settings say."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None

    def plain(self) -> dict[str, int]:
        told = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in told.items() if value is not None}


NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What may be told of a key."""

    prefix: str
    tenant: str
    name: str
    role: Role
    scopes: tuple[str, ...]
    """Empty: all that the role may use."""
    acts_for_others: bool
    """Its requests may name the user that they are for; it is trusted with all users of its tenant."""
    limits: KeyLimits
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    rotated_at: datetime | None
    former_until: datetime | None
    """Until when the secret from before the rotation is taken too."""
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To within a minute."""

    def state(self, now: datetime) -> KeyState:
        if self.revoked_at is not None:
            return KeyState.REVOKED
        return KeyState.EXPIRED if self.expires_at is not None and self.expires_at <= now else KeyState.ACTIVE

    @property
    def standing(self) -> Standing:
        return Standing(self.role, self.tenant, frozenset(self.scopes))


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as it was looked up."""

    key: ApiKey | None
    """None: there is none of that prefix."""
    sha256: str
    former_sha256: str | None
    at: float


class Keys:
    """The one owner of the `api_keys` table. Keys are confined to the tenant of whoever acts, but for `verify`."""

    def __init__(
        self, engine: Engine, *, clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        self._used: dict[str, datetime] = {}
        self._gate = threading.Lock()
        self._exist = False
        self._looked_at = float("-inf")

    def create(
        self,
        name: str,
        *,
        role: Role,
        tenant: str | None = None,
        scopes: builtins.list[str] | tuple[str, ...] = (),
        acts_for_others: bool = False,
        limits: KeyLimits = NO_LIMITS,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key, and what is sent: nobody can be shown that again.

        Args: tenant: None: the tenant of whoever acts.

        Raises: BadRequest: naming what cannot be.
        """
        who = caller()
        tenant = tenant or (who.tenant if who is not None else "default")
        _check(name, tenant, expires_at, self._clock())
        prefix, secret = _letters(8).lower(), _letters(43)
        row = {
            "prefix": prefix,
            "tenant": tenant,
            "name": name.strip(),
            "role": role.value,
            "scopes": list(check_scopes(scopes)),
            "acts_for_others": acts_for_others,
            "limits": limits.plain(),
            "sha256": _digest(secret),
            "created_at": self._clock(),
            "created_by": who.user if who is not None else None,
            "expires_at": expires_at,
        }
        with writing(self._engine) as connection, acting(who if who is None else replace(who, tenant=tenant)):
            connection.execute(sa.insert(api_keys).values(row))
            note(connection, "key.created", prefix, name=row["name"], role=role.value, scopes=row["scopes"])
            made = _get(connection, prefix)
        self._exist = True
        return made, _sent(prefix, secret)

    def list(
        self,
        *,
        role: Role | None = None,
        state: KeyState | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> builtins.list[ApiKey]:
        """Newest first. Args: after: prefix of the last key of the page before. Raises: KeyNotFound: there is no such key."""
        now = self._clock()
        query = sa.select(*_SHOWN).order_by(_c.created_at.desc(), _c.prefix).limit(limit)
        if role is not None:
            query = query.where(_c.role == role.value)
        is_over = _c.expires_at.is_not(None) & (_c.expires_at <= now)
        match state:
            case KeyState.REVOKED:
                query = query.where(_c.revoked_at.is_not(None))
            case KeyState.EXPIRED:
                query = query.where(_c.revoked_at.is_(None), is_over)
            case KeyState.ACTIVE:
                query = query.where(_c.revoked_at.is_(None), sa.not_(is_over))
        with reading(self._engine) as connection:
            if after is not None:
                last = _get(connection, after)
                is_later = (_c.created_at == last.created_at) & (_c.prefix > last.prefix)
                query = query.where(sa.or_(_c.created_at < last.created_at, is_later))
            return [_key(row) for row in connection.execute(query)]

    def get(self, prefix: str) -> ApiKey:
        """Raises: KeyNotFound."""
        with reading(self._engine) as connection:
            return _get(connection, prefix)

    def rotate(self, prefix: str, *, overlap_s: float = 86_400.0) -> tuple[ApiKey, str]:
        """A new secret; the one before is taken for `overlap_s` seconds more.

        Raises: KeyNotFound; KeySpent: it is revoked or has run out.
        """
        secret, now = _letters(43), self._clock()
        with writing(self._engine) as connection:
            _require_active(_get(connection, prefix), now)
            change = {
                "former_sha256": _c.sha256 if overlap_s > 0 else None,
                "former_until": now + timedelta(seconds=overlap_s) if overlap_s > 0 else None,
                "sha256": _digest(secret),
                "rotated_at": now,
            }
            connection.execute(sa.update(api_keys).where(_c.prefix == prefix).values(change))
            note(connection, "key.rotated", prefix, overlap_s=overlap_s)
            made = _get(connection, prefix)
        self._known.pop(prefix, None)
        return made, _sent(prefix, secret)

    def revoke(self, prefix: str) -> ApiKey:
        """It is taken no more: by this process at once, by others within `FRESH_S` seconds. Raises: KeyNotFound."""
        with writing(self._engine) as connection:
            if _get(connection, prefix).revoked_at is None:
                change = {"revoked_at": self._clock(), "former_sha256": None, "former_until": None}
                connection.execute(sa.update(api_keys).where(_c.prefix == prefix).values(change))
                note(connection, "key.revoked", prefix)
            revoked = _get(connection, prefix)
        self._known.pop(prefix, None)
        return revoked

    def exist(self) -> bool:
        """Whether any key was ever made, by whatever tenant, also one that is over: from then on the server is closed."""
        known = self.known_to_exist()
        if known is not None:
            return known
        with acting(None), reading(self._engine) as connection:
            self._exist = connection.execute(sa.select(_c.prefix).limit(1)).first() is not None
        self._looked_at = self._monotonic()
        return self._exist

    def known_to_exist(self) -> bool | None:
        """As `exist`, from memory; None: the database has to be asked."""
        if self._exist or self._monotonic() - self._looked_at < FRESH_S:
            return self._exist
        return None

    def is_known(self, sent: str) -> bool:
        """Whether `verify` answers from memory."""
        found = _KEY.fullmatch(sent)
        known = self._known.get(found[1]) if found is not None else None
        return found is None or (known is not None and self._monotonic() - known.at < FRESH_S)

    def verify(self, sent: str) -> ApiKey | None:
        """The key that somebody sent, if it is one and counts; of whichever tenant."""
        found = _KEY.fullmatch(sent)
        if found is None:
            return None
        prefix, secret = found.groups()
        known, now = self._look_up(prefix), self._clock()
        digest = _digest(secret)
        # both are compared, whatever the first says, so that the time tells nothing
        is_it = hmac.compare_digest(digest, known.sha256)
        was_it = hmac.compare_digest(digest, known.former_sha256 or "")
        if known.key is None or known.key.state(now) is not KeyState.ACTIVE:
            return None
        until = known.key.former_until
        if not is_it and not (was_it and until is not None and now < until):
            return None
        self._used[prefix] = now
        return known.key

    def write_uses(self) -> None:
        """Writes down when keys were last used: one statement for each, all in one transaction, whenever somebody asks."""
        used, self._used = self._used, {}
        if not used:
            return
        with acting(None), writing(self._engine) as connection:
            for prefix, at in used.items():
                is_earlier = sa.or_(_c.last_used_at.is_(None), _c.last_used_at < at)
                connection.execute(sa.update(api_keys).where(_c.prefix == prefix, is_earlier).values(last_used_at=at))

    def _look_up(self, prefix: str) -> _Known:
        now = self._monotonic()
        known = self._known.get(prefix)
        if known is not None and now - known.at < FRESH_S:
            return known
        with acting(None), reading(self._engine) as connection:
            row = connection.execute(sa.select(api_keys).where(_c.prefix == prefix)).one_or_none()
        digests = (row.sha256, row.former_sha256) if row is not None else ("", None)
        known = _Known(_key(row) if row is not None else None, *digests, now)
        with self._gate:
            while len(self._known) >= _MOST_KNOWN:
                self._known.pop(next(iter(self._known)))
            self._known[prefix] = known
        return known


def _check(name: str, tenant: str, expires_at: datetime | None, now: datetime) -> None:
    """Raises: BadRequest."""
    if not 0 < len(name.strip()) <= 128:
        raise BadRequest("name: give the key a name of at most 128 characters", param="name")
    if not is_tenant(tenant):
        raise BadRequest(
            f"tenant: {tenant!r} is no name of a tenant: small letters, digits, - and _, at most 63, and not {SHARED!r}",
            param="tenant",
        )
    if expires_at is not None and expires_at <= now:
        raise BadRequest(f"expires_at: {expires_at.isoformat()} is over; give a later time", param="expires_at")


def _require_active(key: ApiKey, now: datetime) -> None:
    """Raises: KeySpent."""
    state = key.state(now)
    if state is not KeyState.ACTIVE:
        raise KeySpent(f"key {key.prefix} is {state.value}; create another")


def _letters(count: int) -> str:
    """5.9 bits each."""
    return "".join(random_source.choice(_ALPHABET) for _ in range(count))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _sent(prefix: str, secret: str) -> str:
    return f"hone_{prefix}_{secret}"


def _get(connection: Connection, prefix: str) -> ApiKey:
    row = connection.execute(sa.select(*_SHOWN).where(_c.prefix == prefix)).one_or_none()
    if row is None:
        raise KeyNotFound(
            f"no key has the prefix {prefix!r}; GET /v1/keys or `hone keys list` shows those that there are"
        )
    return _key(row)


def _key(row: sa.Row[Any]) -> ApiKey:
    limits: Mapping[str, int] = row.limits
    same = ("prefix", "tenant", "name", "acts_for_others", "created_at", "created_by", "expires_at")
    times = ("rotated_at", "former_until", "revoked_at", "last_used_at")
    return ApiKey(
        role=Role(row.role),
        scopes=tuple(row.scopes),
        limits=KeyLimits(**limits),
        **{name: getattr(row, name) for name in (*same, *times)},
    )
