"""The stored secrets of tools: named, versioned, sealed at rest, written and never read back but for a call.

A new value is a new version; the one before is retired, which erases its sealed value and keeps its dates. A master key
that is missing or wrong stops what needs it before anything is written. Each value has its bounds: where it may be sent
(`tools.secret_bounds`). They are kept in clear, and whoever has not the value cannot give it others but on this machine.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine, Row

from tools.audit_trail import note
from tools.envelope import MasterKey, Sealed, rewrap, seal, unseal
from tools.errors import BadSecret, SecretError, SecretLocked, UnknownSecret
from tools.master_keys import MasterKeys
from tools.redaction import MIN_CHARS
from tools.secret_bounds import Bounds
from tools.spec import SecretName
from tools.tables import secrets
from tools.tenancy import acting
from tools.transactions import snapshot

MAX_CHARS = 8192
"""More than servers take in one header."""
_NAME = TypeAdapter(SecretName)
_LIVE = secrets.c.retired_at.is_(None)
_POSTGRES_LOCK = 0x73656372
"""Key of an advisory lock: writers read the master keys only once they hold it."""


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """What may be told of a secret."""

    name: str
    version: int
    """Counts from 1 within a name."""
    created_at: datetime
    """When the name was first set; UTC."""
    changed_at: datetime
    """When this version was; UTC."""
    opens: bool
    """Whether the master key that seals it is here."""
    bounds: Bounds
    """Without hosts: set before hosts were asked for, so it is sent nowhere until they are named."""


@dataclass(frozen=True, slots=True)
class Rotation:
    key_id: str
    """Of the master key that seals from now on."""
    rewrapped: int
    """Secrets whose data keys were wrapped anew; the others were under this key already."""


class SecretStore:
    """The one owner of the `secrets` table."""

    def __init__(
        self, engine: Engine, keys: MasterKeys, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._now = now

    @property
    def place(self) -> str:
        """Where the master keys are."""
        return self._keys.place

    def set(
        self, name: str, value: str, *, hosts: Sequence[str] | None = None, tools: Sequence[str] | None = None
    ) -> StoredSecret:
        """Keeps a value; white space around it is left out, as it is of a variable.

        Args:
            hosts: where it may be sent; None: where the value before might.
            tools: names of those that may send it, empty for any; None: as the value before.

        Raises:
            BadSecret: the name is none, no request could carry the value, or there are no hosts.
            SecretLocked: other secrets are sealed under a master key that is not here.
            BadMasterKey: the keys cannot be read.
        """
        check_name(name)
        value = _carriable(name, value)
        check_bounds(hosts, tools)
        now = self._now()
        with self._engine.begin() as connection:
            _take_turns(connection)
            live = _rows(connection, _LIVE)
            bounds = _renewed(name, next((row for row in live if row.name == name), None), hosts, tools)
            self._keys_for(live)
            key = self._keys.first()
            before, first = _history(connection, name)
            version = before + 1
            _retire(connection, name, now)
            sealed = seal(value, name, version, key)
            row = {"name": name, "version": version, "created_at": now, **_columns(sealed), **_kept(bounds)}
            connection.execute(sa.insert(secrets).values(row))
            note(connection, "secret.set", name, version=version, **_kept(bounds))
        return StoredSecret(name, version, _utc(first) if first is not None else now, now, opens=True, bounds=bounds)

    def bind(self, name: str, *, hosts: Sequence[str], tools: Sequence[str] = ()) -> Bounds:
        """Gives a value other bounds, in place of those that it has; it takes no key. For whoever has the machine: over HTTP
        other hosts come with a value alone, so that nobody has a value sent to them that they do not know.

        Raises: UnknownSecret: it is not stored; BadSecret: it is no name, or these are no bounds.
        """
        check_name(name)
        check_bounds(hosts, tools)
        with self._engine.begin() as connection:
            _take_turns(connection)
            live = _rows(connection, _LIVE)
            row = next((row for row in live if row.name == name), None)
            if row is None:
                raise UnknownSecret(_unknown(name, [row.name for row in live]))
            bounds = _renewed(name, row, hosts, tools)
            this = (secrets.c.name == name) & _LIVE
            connection.execute(sa.update(secrets).where(this).values(_kept(bounds)))
            note(connection, "secret.bound", name, **_kept(bounds))
        return bounds

    def bounds(self, name: str) -> Bounds | None:
        """None: no secret of that name is stored."""
        with snapshot(self._engine) as connection:
            rows = _rows(connection, _LIVE & (secrets.c.name == name))
        return _bounds(rows[0]) if rows else None

    def find(self, name: str) -> tuple[str, Bounds] | None:
        """The value, and where it may be sent; None: no secret of that name is stored.

        Raises: SecretLocked, BadMasterKey: it is stored and cannot be opened.
        """
        with snapshot(self._engine) as connection:
            rows = _rows(connection, _LIVE & (secrets.c.name == name))
        if not rows:
            return None
        (row,) = rows
        # after the row: whoever changes the key writes it down before any row is wrapped with it
        key = self._keys_for(rows)[row.key_id]
        return unseal(_sealed(row), row.name, row.version, key), _bounds(row)

    def list(self) -> "list[StoredSecret]":
        """By name. Raises: BadMasterKey: the keys cannot be read."""
        first = (
            sa.select(secrets.c.name, sa.func.min(secrets.c.created_at).label("first"))
            .group_by(secrets.c.name)
            .subquery()
        )
        statement = (
            sa.select(secrets, first.c.first).join(first, first.c.name == secrets.c.name).where(_LIVE)
        ).order_by(secrets.c.name)
        with snapshot(self._engine) as connection:
            rows = connection.execute(statement).all()
        here = {key.id for key in self._keys.read()}
        return [
            StoredSecret(row.name, row.version, _utc(row.first), _utc(row.created_at), row.key_id in here, _bounds(row))
            for row in rows
        ]

    def remove(self, names: Sequence[str]) -> None:
        """Erases the values of all of them, or of none; it takes no key, so that what is locked can go too.

        Raises: UnknownSecret: one is not stored; BadSecret: one is no name.
        """
        for name in names:
            check_name(name)
        with self._engine.begin() as connection:
            _take_turns(connection)
            stored = [row.name for row in _rows(connection, _LIVE)]
            for name in dict.fromkeys(names):
                if name not in stored:
                    raise UnknownSecret(_unknown(name, stored))
                _retire(connection, name, self._now())
                note(connection, "secret.removed", name)

    def rotate_key(self) -> Rotation:
        """Wraps every data key, of all tenants, with a new master key, all in one transaction; values stay as they are.

        The new key is written down before any row needs it, and the old ones stay: whenever this is cut short, each
        row opens with a key that is there.

        Raises:
            SecretLocked: a secret does not open now, so it would not afterwards; nothing is changed.
            BadMasterKey: the keys cannot be read, or there is none to change to.
        """
        with self._engine.begin() as connection, acting(None):
            _take_turns(connection)
            rows = _rows(connection, _LIVE)
            old = self._keys_for(rows)
            for row in rows:
                unseal(_sealed(row), row.name, row.version, old[row.key_id])
            new = self._keys.renew()
            moving = [row for row in rows if row.key_id != new.id]
            for row in moving:
                sealed = rewrap(_sealed(row), row.name, row.version, old=old[row.key_id], new=new)
                this = (secrets.c.tenant == row.tenant) & (secrets.c.name == row.name)
                this &= secrets.c.version == row.version
                connection.execute(sa.update(secrets).where(this).values(_columns(sealed)))
        with self._engine.begin() as connection:
            note(connection, "secrets.key_rotated", new.id, rewrapped=len(moving))
        return Rotation(new.id, len(moving))

    def problem(self) -> str | None:
        """Why stored secrets cannot be opened here, with the remedy; None: the keys of all are here."""
        with snapshot(self._engine) as connection:
            rows = _rows(connection, _LIVE)
        try:
            self._keys_for(rows)
        except SecretError as e:
            return str(e)
        return None

    def _keys_for(self, rows: Iterable[Row]) -> dict[str, MasterKey]:
        """The keys that are here, by id. Raises: SecretLocked: the one of a row is not; BadMasterKey."""
        rows = list(rows)
        keys = {key.id: key for key in self._keys.read()}
        locked = [row for row in rows if row.key_id not in keys]
        if locked:
            raise SecretLocked(_locked(locked, list(keys), self._keys.place))
        return keys


def check_name(name: str) -> None:
    """Raises: BadSecret: without repeating it, for it may be a value that was put in the wrong place."""
    try:
        _NAME.validate_python(name)
    except ValidationError:
        raise BadSecret(
            "this is no name of a secret: a name has capitals, digits and _, begins with a capital and has at most 64 "
            "characters; it is not the value"
        ) from None  # its cause would repeat it


def check_bounds(hosts: Sequence[str] | None, tools: Sequence[str] | None = None) -> None:
    """Raises: BadSecret: naming the entry."""
    try:
        Bounds.parse(hosts or (), tools or ())
    except ValueError as e:
        raise BadSecret(str(e)) from e


def _renewed(name: str, row: Row | None, hosts: Sequence[str] | None, tools: Sequence[str] | None) -> Bounds:
    """Raises: BadSecret: nobody named a host."""
    before = _bounds(row) if row is not None else Bounds()
    bounds = Bounds.parse(before.hosts if hosts is None else hosts, before.tools if tools is None else tools)
    if not bounds.hosts:
        raise BadSecret(no_hosts(name))
    return bounds


def no_hosts(name: str) -> str:
    """What is told where nobody said where a value may be sent."""
    return (
        f"name the hosts that {name} may be sent to: hone secrets set {name} --host api.example.com "
        '(over HTTP: "hosts": ["api.example.com"]); it goes nowhere else, whatever a tool asks for'
    )


def _kept(bounds: Bounds) -> dict[str, list[str]]:
    return {"hosts": list(bounds.hosts), "tools": list(bounds.tools)}


def _bounds(row: Row) -> Bounds:
    return Bounds(tuple(row.hosts or ()), tuple(row.tools or ()))


def _carriable(name: str, value: str) -> str:
    """Raises: BadSecret: without the value."""
    value = value.strip()
    if len(value) < MIN_CHARS:
        # a shorter one could not be taken out of what services answer
        raise BadSecret(f"the value of {name} has {len(value)} characters; a secret has at least {MIN_CHARS}")
    if len(value) > MAX_CHARS:
        raise BadSecret(f"the value of {name} has {len(value):,} characters; a request carries at most {MAX_CHARS:,}")
    if not value.isascii() or not value.isprintable():
        raise BadSecret(
            f"the value of {name} holds characters that a request header cannot carry; give one line of printable ASCII"
        )
    return value


def _take_turns(connection: Connection) -> None:
    """One writer at a time; SQLite's transactions are that already."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK)))


def _rows(connection: Connection, condition: sa.ColumnElement[bool]) -> Sequence[Row]:
    return connection.execute(sa.select(secrets).where(condition).order_by(secrets.c.name)).all()


def _history(connection: Connection, name: str) -> tuple[int, datetime | None]:
    """The highest version so far, also of a removed secret, and when the first one was set."""
    counted = sa.select(sa.func.coalesce(sa.func.max(secrets.c.version), 0), sa.func.min(secrets.c.created_at))
    version, first = connection.execute(counted.where(secrets.c.name == name)).one()
    return version, first


def _retire(connection: Connection, name: str, now: datetime) -> None:
    erased = {"key_id": None, "data_key": None, "sealed": None, "retired_at": now}
    connection.execute(sa.update(secrets).where(secrets.c.name == name, _LIVE).values(erased))


def _sealed(row: Row) -> Sealed:
    return Sealed(row.key_id, row.data_key, row.sealed)


def _columns(sealed: Sealed) -> dict[str, str | bytes]:
    return {"key_id": sealed.key_id, "data_key": sealed.data_key, "sealed": sealed.value}


def _utc(instant: datetime) -> datetime:
    """SQLite keeps no offset; what was written is UTC."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _locked(rows: Sequence[Row], here: Sequence[str], place: str) -> str:
    missing = ", ".join(sorted({row.key_id for row in rows}))
    names = " ".join(row.name for row in rows)
    holds = f"holds {', '.join(here)}" if here else "holds none"
    return (
        f"stored secrets are sealed under the master key {missing}, and {place} {holds}; nothing was changed: "
        "put that key back (from a backup, or from the server that sealed them; a replaced key goes after the new one), "
        f"or, if it is lost, remove what it sealed (hone secrets remove {names}) and set it again"
    )


def _unknown(name: str, stored: Sequence[str]) -> str:
    near = get_close_matches(name, stored, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(stored) or 'none'}"
    return f"no secret named {name!r} is stored; {hint}"
