"""Which adapter serves: a row per channel, flipped in one transaction together with the adapters' states.

Adapters on disk never change; serving another one, or going back, is a change of one row, which every process that
polls `Deployment.current` sees. No adapter in a channel means the base model. Each change is kept in `transitions`.
"""

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from runtime.database import Clock, UtcDateTime, reading, upsert, utc_now, writing
from runtime.errors import AdapterRejected, UnknownAdapter
from runtime.policy.manifest import Manifest
from tools.audit_trail import note

metadata = sa.MetaData()

adapters = sa.Table(
    "adapters",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("parent", sa.String(128)),
    sa.Column("manifest", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.UniqueConstraint("version", name="uq_adapters_version"),
)

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("channel", sa.String(16), primary_key=True),
    sa.Column("adapter", sa.ForeignKey("adapters.name", name="fk_deployments_adapter")),
    sa.Column("changed_at", UtcDateTime(), nullable=False),
)

transitions = sa.Table(
    "transitions",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("adapter", sa.ForeignKey("adapters.name", name="fk_transitions_adapter"), nullable=False),
    sa.Column("from_state", sa.String(16)),
    sa.Column("to_state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime(), nullable=False),
    sa.Index("ix_transitions_adapter", "adapter", "id"),
)


class Channel(StrEnum):
    INCUMBENT = "incumbent"
    """Serves everyone, but for the share that the canary takes."""
    CANARY = "canary"
    """Serves a share of the threads."""


class AdapterState(StrEnum):
    CANDIDATE = "candidate"
    """Published, never served."""
    CANARY = "canary"
    INCUMBENT = "incumbent"
    REJECTED = "rejected"
    """Never to be served again."""
    RETIRED = "retired"
    """Served once; can serve again."""


ALLOWED: Mapping[AdapterState, frozenset[AdapterState]] = {
    AdapterState.CANDIDATE: frozenset({AdapterState.CANARY, AdapterState.INCUMBENT, AdapterState.REJECTED}),
    AdapterState.CANARY: frozenset({AdapterState.INCUMBENT, AdapterState.RETIRED, AdapterState.REJECTED}),
    AdapterState.INCUMBENT: frozenset({AdapterState.RETIRED, AdapterState.REJECTED}),
    AdapterState.RETIRED: frozenset({AdapterState.CANARY, AdapterState.INCUMBENT, AdapterState.REJECTED}),
    AdapterState.REJECTED: frozenset(),
}
"""From each state, the states that may follow it."""


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """A published adapter as the deployment knows it."""

    name: str
    version: int
    path: Path
    sha256: str
    manifest: Manifest
    created_at: datetime
    state: AdapterState = AdapterState.CANDIDATE
    parent: str | None = None

    @classmethod
    def of(cls, manifest: Manifest, path: Path) -> "AdapterRecord":
        """The record of a freshly published adapter."""
        return cls(
            name=manifest.name,
            version=manifest.version,
            path=path.resolve(),
            sha256=manifest.sha256,
            manifest=manifest,
            created_at=manifest.created_at,
            parent=manifest.parent,
        )


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of an adapter's state."""

    adapter: str
    from_state: AdapterState | None
    """None: it was published."""
    to_state: AdapterState
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Promotions:
    last: datetime | None
    """When an adapter last became the incumbent; None: never."""
    refused_since: int
    """Adapters that were rejected before they served, since then."""


class Deployment:
    """The one owner of the adapters' states and of the channels' pointers."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def current(self, channel: str = Channel.INCUMBENT) -> AdapterRecord | None:
        """The adapter of a channel; None: the base model (for the canary: no canary)."""
        query = sa.select(adapters).join(deployments).where(deployments.c.channel == Channel(channel).value)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _record(row)

    def publish(self, record: AdapterRecord) -> None:
        """Takes in an adapter as a candidate; taking in the same one again changes nothing.

        Raises:
            AdapterRejected: its name or version belongs to another adapter.
        """
        with writing(self._engine) as connection:
            _lock(connection)
            taken = sa.or_(adapters.c.name == record.name, adapters.c.version == record.version)
            for row in connection.execute(sa.select(adapters.c.name, adapters.c.sha256).where(taken)):
                if (row.name, row.sha256) == (record.name, record.sha256):
                    return
                raise AdapterRejected(
                    f"version {record.version} is already taken by {row.name!r}: publish again under the next version"
                )
            connection.execute(sa.insert(adapters).values(_row(record)))
            self._log(connection, record.name, None, AdapterState.CANDIDATE, "published")

    def point(self, channel: str, name: str | None, *, reason: str = "pointed") -> None:
        """Makes a channel serve an adapter, or the base model (for the canary: nothing) when the name is None.

        Pointer and states change together or not at all. What the channel served before is retired and can be pointed
        at again; a canary that becomes the incumbent leaves the canary channel.

        Raises:
            UnknownAdapter: no adapter of that name was published.
            AdapterRejected: its state does not allow it.
        """
        target = Channel(channel)
        with writing(self._engine) as connection:
            pointers = _lock(connection)
            previous = pointers.get(target)
            if previous == name:
                return
            if name is not None:
                self._move(connection, name, AdapterState(target.value), reason)
                for other, adapter in pointers.items():
                    if other is not target and adapter == name:
                        self._set(connection, other, None)
            if previous is not None:
                self._move(connection, previous, AdapterState.RETIRED, f"replaced by {name or 'the base model'}")
            self._set(connection, target, name)
            note(connection, "adapter.pointed", name or "base", channel=target.value, before=previous, reason=reason)

    def reject(self, name: str, reason: str) -> None:
        """Bars an adapter from serving for good; rejecting it again changes nothing.

        If it serves everyone, its nearest ancestor that has served and is not rejected takes its place in the same
        transaction, or the base model when there is none. If it is the canary, there is no canary any more.

        Raises:
            UnknownAdapter: no adapter of that name was published.
        """
        with writing(self._engine) as connection:
            pointers = _lock(connection)
            if _state(connection, name) is AdapterState.REJECTED:
                return
            self._move(connection, name, AdapterState.REJECTED, reason)
            note(connection, "adapter.rejected", name, reason=reason)
            if pointers.get(Channel.CANARY) == name:
                self._set(connection, Channel.CANARY, None)
            if pointers.get(Channel.INCUMBENT) == name:
                heir = _nearest_proven_ancestor(connection, name)
                if heir is not None:
                    self._move(connection, heir, AdapterState.INCUMBENT, f"took over from rejected {name}")
                self._set(connection, Channel.INCUMBENT, heir)

    def get(self, name: str) -> AdapterRecord:
        """Raises: UnknownAdapter."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(adapters).where(adapters.c.name == name)).mappings().one_or_none()
        if row is None:
            raise _unknown(name)
        return _record(row)

    def list(self) -> builtins.list[AdapterRecord]:
        """All adapters, newest version first."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(adapters).order_by(adapters.c.version.desc())).mappings()
            return [_record(row) for row in rows]

    def history(self, name: str | None = None, *, limit: int = 100) -> builtins.list[Transition]:
        """State changes, newest first; `name`: of one adapter only."""
        query = sa.select(transitions).order_by(transitions.c.id.desc()).limit(limit)
        if name is not None:
            query = query.where(transitions.c.adapter == name)
        with reading(self._engine) as connection:
            return [_transition(row) for row in connection.execute(query).mappings()]

    def promotions(self) -> Promotions:
        """How the candidates of late have fared."""
        newest = transitions.c.id.desc()
        last = (
            sa.select(transitions.c.id, transitions.c.at)
            .where(transitions.c.to_state == AdapterState.INCUMBENT.value)
            .order_by(newest)
            .limit(1)
        )
        refused = (
            sa.select(sa.func.count())
            .select_from(transitions)
            .where(
                transitions.c.to_state == AdapterState.REJECTED.value,
                transitions.c.from_state.in_((AdapterState.CANDIDATE.value, AdapterState.CANARY.value)),
            )
        )
        with reading(self._engine) as connection:
            found = connection.execute(last).one_or_none()
            since = connection.scalar(refused.where(transitions.c.id > (found.id if found else 0))) or 0
        return Promotions(found.at if found else None, since)

    def next_version(self) -> int:
        """One more than the highest version that was ever published."""
        with reading(self._engine) as connection:
            return (connection.scalar(sa.select(sa.func.max(adapters.c.version))) or 0) + 1

    def _move(self, connection: Connection, name: str, to: AdapterState, reason: str) -> None:
        state = _state(connection, name)
        if to not in ALLOWED[state]:
            allowed = ", ".join(sorted(ALLOWED[state])) or "nothing"
            raise AdapterRejected(f"adapter {name!r} is {state} and cannot become {to}: it can become {allowed}")
        connection.execute(sa.update(adapters).where(adapters.c.name == name).values(state=to.value))
        self._log(connection, name, state, to, reason)

    def _set(self, connection: Connection, channel: Channel, name: str | None) -> None:
        insert = upsert(self._engine, deployments)
        insert = insert.values(channel=channel.value, adapter=name, changed_at=self._clock())
        changed = {"adapter": insert.excluded.adapter, "changed_at": insert.excluded.changed_at}
        connection.execute(insert.on_conflict_do_update(index_elements=["channel"], set_=changed))

    def _log(
        self, connection: Connection, name: str, before: AdapterState | None, to: AdapterState, reason: str
    ) -> None:
        row = {"adapter": name, "from_state": before, "to_state": to.value, "reason": reason, "at": self._clock()}
        connection.execute(sa.insert(transitions).values(row))


def _lock(connection: Connection) -> dict[Channel, str | None]:
    """The pointers, held against other writers until the transaction ends.

    SQLite's writers hold the whole database; PostgreSQL's wait here for the table.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE deployments IN SHARE ROW EXCLUSIVE MODE"))
    rows = connection.execute(sa.select(deployments.c.channel, deployments.c.adapter))
    return {Channel(row.channel): row.adapter for row in rows}


def _state(connection: Connection, name: str) -> AdapterState:
    state = connection.scalar(sa.select(adapters.c.state).where(adapters.c.name == name))
    if state is None:
        raise _unknown(name)
    return AdapterState(state)


def _nearest_proven_ancestor(connection: Connection, name: str) -> str | None:
    seen = {name}
    parent = _parent(connection, name)
    while parent is not None and parent not in seen:
        seen.add(parent)
        state = connection.scalar(sa.select(adapters.c.state).where(adapters.c.name == parent))
        if state == AdapterState.RETIRED:
            return parent
        parent = _parent(connection, parent)
    return None


def _parent(connection: Connection, name: str) -> str | None:
    return connection.scalar(sa.select(adapters.c.parent).where(adapters.c.name == name))


def _unknown(name: str) -> UnknownAdapter:
    return UnknownAdapter(f"no adapter {name!r} was published: `hone adapters list` names those there are")


def _row(record: AdapterRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "version": record.version,
        "path": str(record.path),
        "sha256": record.sha256,
        "state": AdapterState.CANDIDATE.value,
        "parent": record.parent,
        "manifest": record.manifest.model_dump(mode="json"),
        "created_at": record.created_at,
    }


def _record(row: sa.RowMapping) -> AdapterRecord:
    return AdapterRecord(
        name=row["name"],
        version=row["version"],
        path=Path(row["path"]),
        sha256=row["sha256"],
        manifest=Manifest.model_validate(row["manifest"]),
        created_at=row["created_at"],
        state=AdapterState(row["state"]),
        parent=row["parent"],
    )


def _transition(row: sa.RowMapping) -> Transition:
    return Transition(
        adapter=row["adapter"],
        from_state=AdapterState(row["from_state"]) if row["from_state"] else None,
        to_state=AdapterState(row["to_state"]),
        reason=row["reason"],
        at=row["at"],
    )
