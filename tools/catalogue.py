"""The registered tools and their versions: a changed definition is a new version, and no version is ever lost.

At most one version of a name is active. Removing a tool deactivates it: traces that used it can still be explained.
The table itself is made by the database's migrations (or `tools.tables.metadata.create_all`), not here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Numeric, Row, cast, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tools.audit_trail import note
from tools.errors import BadToolSpec, DuplicateTool, SharedTool, UnknownTool
from tools.examples import example_problem
from tools.json_schema import schema_problem
from tools.postcondition import postcondition_problem
from tools.request_layout import layout_problem
from tools.spec import ClientBackend, HttpBackend, SideEffect, ToolSpec
from tools.split import LEARNT_ON_FIRST, is_set_apart
from tools.tables import tool_holds, tools
from tools.tenancy import SHARED, acting, caller, fixed, within
from tools.transactions import snapshot
from tools.typed_credentials import typed_credential

RESERVED_NAMES = frozenset({"ask_user", "decline"})
"""Names by which the policy clarifies and refuses; they stand beside the registered tools in each prompt."""
_AT_ONCE = 500
"""Definitions read by one query."""


@dataclass(frozen=True, slots=True)
class ToolVersion:
    spec: ToolSpec
    version: int
    """Counts from 1 within a name."""
    active: bool
    created_at: datetime
    """UTC."""


def check_spec(spec: ToolSpec) -> None:
    """Raises: BadToolSpec: the definition cannot be registered; the message names the JSON path at fault."""
    if spec.name in RESERVED_NAMES:
        raise BadToolSpec(f"$.name: {spec.name!r} is reserved for the agent's own decisions; choose another name")
    if isinstance(spec.backend, ClientBackend):
        raise BadToolSpec(
            f"$.backend.kind: {spec.name!r} runs at the chat client, so it is sent with each request instead"
        )
    problem = schema_problem(spec.parameters)
    if problem is not None:
        raise BadToolSpec(f"tool {spec.name!r}: $.parameters{problem.removeprefix('$')}")
    if isinstance(spec.backend, HttpBackend):
        problem = layout_problem(spec.backend, spec.parameters.get("properties", {}))
        if problem is not None:
            raise BadToolSpec(f"tool {spec.name!r}: $.backend.layout: {problem}")
    problem = typed_credential(spec) or postcondition_problem(spec)
    if problem is not None:
        raise BadToolSpec(f"tool {spec.name!r}: {problem}")
    problem = example_problem(spec.examples, spec.parameters)
    if problem is not None:
        raise BadToolSpec(f"tool {spec.name!r}: {problem}")


@dataclass(frozen=True, slots=True)
class _Usable:
    """What a catalogue knows of its tools."""

    state: tuple[Any, ...] = ()
    """What `_state` gave when it was read; empty: never."""
    by_id: Mapping[int, ToolSpec] = field(default_factory=dict[int, ToolSpec])
    """The active versions by the ids of their rows, which never hold another definition."""
    specs: tuple[ToolSpec, ...] = ()
    """Those that are not held, by name."""


class Catalogue:
    """The one owner of the `tools` table."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._now = now
        self._usable: dict[str | None, _Usable] = {}
        """By tenant; the server itself sees all."""

    def add(self, spec: ToolSpec, *, replace: bool = False) -> ToolSpec:
        """Registers a tool; a definition that equals the newest version of its name makes no new one.

        Raises:
            BadToolSpec: the definition is unsound.
            DuplicateTool: the name is active and `replace` is False, or another process has just taken it.
        """
        (added,) = self.add_all([spec], replace=replace)
        return added

    def add_all(self, specs: Sequence[ToolSpec], *, replace: bool = False) -> "list[ToolSpec]":
        """Registers all of them in one transaction, or none; gives them as they are kept.

        Raises: BadToolSpec, DuplicateTool: as `add`.
        """
        for spec in specs:
            check_spec(spec)
        names = ", ".join(repr(spec.name) for spec in specs)
        with one_at_a_time(names), self._engine.begin() as connection:
            return register_all(connection, specs, replace=replace, now=self._now())

    def get(self, name: str) -> ToolSpec:
        """Raises: UnknownTool: no active tool has that name."""
        with snapshot(self._engine) as connection:
            return active_spec(connection, name)

    def list(self) -> list[ToolSpec]:
        """The tools that may be used, by name: the active ones but those that are held (`tools.holds`)."""
        return [*self.usable()]

    def usable(self) -> tuple[ToolSpec, ...]:
        """As `list`: the same tuple as long as no process has changed a tool or a hold, so what is made of it can be kept.

        Of a change, what is new is read and the rest is not.
        """
        who = caller()
        tenant = who.tenant if who is not None else None
        with snapshot(self._engine) as connection:
            state, usable = _state(connection), self._usable.get(tenant, _Usable())
            if state != usable.state:
                held = set(connection.execute(select(tool_holds.c.name)).scalars())
                ids = connection.execute(select(tools.c.id).where(tools.c.active)).scalars().all()
                by_id = {id: usable.by_id[id] for id in ids if id in usable.by_id} | _specs(
                    connection, [id for id in ids if id not in usable.by_id]
                )
                found = sorted((spec for spec in by_id.values() if spec.name not in held), key=lambda spec: spec.name)
                usable = self._usable[tenant] = _Usable(state, by_id, tuple(found))
        return usable.specs

    def registered(self) -> "list[ToolSpec]":
        """The active tools, by name, held ones among them."""
        with snapshot(self._engine) as connection:
            return registered_specs(connection)

    def versions(self, name: str) -> "list[ToolVersion]":
        """Every version of a name, oldest first, also of a removed tool.

        Raises: UnknownTool: the name was never registered.
        """
        statement = select(tools).where(tools.c.name == name).order_by(tools.c.version)
        with snapshot(self._engine) as connection:
            rows = connection.execute(statement).all()
            if not rows:
                raise UnknownTool(_unknown(connection, name))
        return [_version(row) for row in rows]

    def remove(self, name: str) -> None:
        """Takes a tool out of use; its versions stay on record.

        Raises: UnknownTool: no active tool has that name.
        """
        statement = update(tools).where(tools.c.name == name, tools.c.active).values(active=False)
        with self._engine.begin() as connection, _keeping(connection, name):
            refuse_shared(connection, name)
            if not connection.execute(statement).rowcount:
                raise UnknownTool(_unknown(connection, name))
            _note_change(connection)
            connection.execute(delete(tool_holds).where(tool_holds.c.name == name))
            note(connection, "tool.removed", name)


def _keeping(connection: Connection, name: str) -> AbstractContextManager[None]:
    """The server's operator takes a tool away from all tenants, wherever they are at work themselves."""
    who = caller()
    return within(SHARED) if who is not None and who.keeps_shared and _is_shared(connection, name) else nullcontext()


def _is_shared(connection: Connection, name: str) -> bool:
    of_all = select(tools.c.id).where(tools.c.name == name, tools.c.active, tools.c.tenant == SHARED)
    return connection.execute(of_all).first() is not None


def refuse_shared(connection: Connection, name: str) -> None:
    """Raises: SharedTool: a tool of that name is there for all tenants, and who acts is one of them."""
    who = caller()
    if who is None or who.tenant == SHARED:
        return
    if _is_shared(connection, name):
        raise SharedTool(
            f"{name!r} is a tool of all tenants, so no other tool has its name, and only the server's operator changes it, at "
            f"work in the tenant {SHARED!r} (HONE_TENANT, x-hone-tenant); disabling it keeps it out of use for one tenant alone"
        )


def _refuse_taken(connection: Connection, name: str) -> None:
    """Raises: DuplicateTool: a tenant has a tool of the name that one for all tenants is to have."""
    who = caller()
    if who is None or who.tenant != SHARED:
        return
    with acting(None):
        theirs = select(tools.c.tenant).where(tools.c.name == name, tools.c.active, tools.c.tenant != SHARED)
        taken = connection.execute(theirs).scalars().first()
    if taken is not None:
        raise DuplicateTool(
            f"tenant {taken!r} has a tool named {name!r}; choose another name for the one of all tenants"
        )


def active_spec(connection: Connection, name: str) -> ToolSpec:
    """Raises: UnknownTool: no active tool has that name."""
    row = connection.execute(_SPECS.where(tools.c.name == name, tools.c.active)).first()
    if row is None:
        raise UnknownTool(_unknown(connection, name))
    return _spec(row)


def registered_specs(connection: Connection) -> list[ToolSpec]:
    """The active tools, by name."""
    return [_spec(row) for row in connection.execute(_SPECS.where(tools.c.active).order_by(tools.c.name))]


_SPECS = select(tools.c.id, tools.c.tenant, tools.c.spec)


def _spec(row: Row) -> ToolSpec:
    spec = ToolSpec.model_validate(row.spec)
    return spec.shared() if row.tenant == SHARED else spec


def _state(connection: Connection) -> tuple[Any, ...]:
    """What differs between any two states of the tools and holds, at the price of a small query.

    SQLite counts changes in a number in its file's head (`_note_change`). PostgreSQL has no such place: there the ids of active
    rows are summed up, which takes it some milliseconds for 10,000.
    """
    held = connection.execute(_HELD).scalars().all()
    newest = connection.execute(_NEWEST).scalar()
    if connection.dialect.name == "sqlite":
        return (newest, _noted(connection), *held)
    return (newest, *connection.execute(_ACTIVE_SUMS).one(), *held)


_HELD = fixed(select(tool_holds.c.name).order_by(tool_holds.c.name, tool_holds.c.kind))
_NEWEST = fixed(select(func.max(tools.c.id)))
_ACTIVE_SUMS = fixed(
    select(func.count(), func.sum(tools.c.id), func.sum(cast(tools.c.id, Numeric) * tools.c.id)).where(tools.c.active)
)


def _note_change(connection: Connection) -> None:
    """Within the transaction that changes a tool: whoever reads later sees that something has changed."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {(_noted(connection) + 1) % 2**31}")


def _noted(connection: Connection) -> int:
    return connection.exec_driver_sql("PRAGMA user_version").scalar_one()


def _specs(connection: Connection, ids: Sequence[int]) -> dict[int, ToolSpec]:
    found: dict[int, ToolSpec] = {}
    for at in range(0, len(ids), _AT_ONCE):
        statement = _SPECS.where(tools.c.id.in_(ids[at : at + _AT_ONCE]))
        found |= {row.id: _spec(row) for row in connection.execute(statement)}
    return found


def _unknown(connection: Connection, name: str) -> str:
    names = [spec.name for spec in registered_specs(connection)]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none yet'}"
    return f"no tool named {name!r}; {hint}"


@contextmanager
def one_at_a_time(names: str) -> Iterator[None]:
    """Raises: DuplicateTool: another process took one of `names` while the block ran."""
    try:
        yield
    except IntegrityError as e:
        raise DuplicateTool(f"a tool named {names} was registered at the same moment; try again") from e


def register_all(connection: Connection, specs: Sequence[ToolSpec], *, replace: bool, now: datetime) -> list[ToolSpec]:
    """Writes one version of each within the caller's transaction and gives them as they are kept.

    Raises:
        BadToolSpec: a postcondition reads with a tool that is not registered, or that does not only read.
        DuplicateTool: as `register`.
    """
    kept = [register(connection, spec, replace=replace, now=now) for spec in specs]
    for spec in kept:
        if spec.postcondition is not None and spec.postcondition.read is not None:
            _check_reader(connection, spec.name, spec.postcondition.read.tool)
    return kept


def register(connection: Connection, spec: ToolSpec, *, replace: bool, now: datetime) -> ToolSpec:
    """Writes one version within the caller's transaction and gives it as it is kept; a quarantine of what it replaces is over.

    Raises:
        DuplicateTool: the name is active and `replace` is False.
        SharedTool: a tool of all tenants has the name.
    """
    refuse_shared(connection, spec.name)
    _refuse_taken(connection, spec.name)
    newest = connection.execute(
        select(tools).where(tools.c.name == spec.name, *_own()).order_by(tools.c.version.desc()).limit(1)
    ).first()
    if newest is not None and newest.active and not replace:
        raise DuplicateTool(
            f"a tool named {spec.name!r} is registered (version {newest.version}); "
            "replace it, remove it first, or choose another name"
        )
    # by its word: `tools.holds` builds on this module
    connection.execute(delete(tool_holds).where(tool_holds.c.name == spec.name, tool_holds.c.kind == "quarantined"))
    if spec.never_train is None:
        spec = spec.model_copy(update={"never_train": _is_set_apart(connection, spec, newest)})
    _note_change(connection)
    if newest is not None and newest.sha256 == spec.sha256:
        connection.execute(update(tools).where(tools.c.id == newest.id).values(active=True))
        if not newest.active:
            note(connection, "tool.registered", spec.name, version=newest.version, sha256=spec.sha256)
        return spec
    connection.execute(update(tools).where(tools.c.name == spec.name, tools.c.active).values(active=False))
    connection.execute(
        insert(tools).values(
            name=spec.name,
            version=newest.version + 1 if newest is not None else 1,
            sha256=spec.sha256,
            spec=spec.model_dump(mode="json"),
            active=True,
            created_at=now,
        )
    )
    version = newest.version + 1 if newest is not None else 1
    note(connection, "tool.registered", spec.name, version=version, sha256=spec.sha256)
    return spec


def _own() -> list[ColumnElement[bool]]:
    """Leaves the tools of all tenants out for whoever is not their keeper."""
    who = caller()
    return [] if who is None else [tools.c.tenant == who.tenant]


def _check_reader(connection: Connection, name: str, reader: str) -> None:
    """Raises: BadToolSpec."""
    try:
        effect = active_spec(connection, reader).side_effect
    except UnknownTool as e:
        raise BadToolSpec(f"tool {name!r}: $.postcondition.read.tool: {e}; register it first") from e
    if effect is not SideEffect.READ:
        raise BadToolSpec(f"tool {name!r}: $.postcondition.read.tool: {reader!r} does not only read ({effect.value})")


def _is_set_apart(connection: Connection, spec: ToolSpec, newest: Row | None) -> bool:
    """The side of a tool whose definition does not name it: the one of its last version, else the one of its name."""
    if newest is not None:
        return ToolSpec.model_validate(newest.spec).never_train is True
    if not is_set_apart(spec.name):
        return False
    learnt_on = select(tools.c.id).where(tools.c.active, tools.c.spec["backend"]["kind"].as_string() != "builtin")
    return len(connection.execute(learnt_on.limit(LEARNT_ON_FIRST)).all()) == LEARNT_ON_FIRST


def _version(row: Row) -> ToolVersion:
    created_at = row.created_at
    if created_at.tzinfo is None:  # SQLite keeps no offset; what was written is UTC
        created_at = created_at.replace(tzinfo=UTC)
    return ToolVersion(spec=_spec(row), version=row.version, active=row.active, created_at=created_at)
