"""What keeps registered tools out of use: a changed definition (quarantine), or a person's word (disabled).

A held tool stays registered, with its name and its versions; the policy is not shown it, and calls of it are refused.
Whoever connects to an MCP server reports here what it offers now. A quarantine ends when the owner accepts what is
offered, or when the server goes back to what was accepted.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, Row, delete, insert, select
from sqlalchemy.exc import IntegrityError

from tools.audit_trail import note
from tools.catalogue import active_spec, check_spec, one_at_a_time, refuse_shared, register_all, registered_specs
from tools.errors import BadToolSpec, NotHeld
from tools.importers.survey import Survey
from tools.mcp_definition import Definition, difference, digest, redefined
from tools.mcp_session import McpServer
from tools.spec import McpBackend, ToolSpec
from tools.suspicion import Suspicion, suspicions
from tools.tables import tool_holds
from tools.tenancy import SHARED, caller
from tools.transactions import snapshot


class ToolState(StrEnum):
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    """Its server changed its definition; nobody has accepted that."""
    DISABLED = "disabled"
    """Switched off by a person, or at its import, since its description tries to steer the reader."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a tool stands, and why."""

    state: ToolState = ToolState.ACTIVE
    reason: str | None = None
    since: datetime | None = None
    """UTC."""


@dataclass(frozen=True, slots=True)
class ChangedDefinition:
    old: Definition
    new: Definition | None
    """None: the server offers it no more."""
    flagged: tuple[Suspicion, ...] = ()
    """What in the texts of the new one its owner should read with care."""

    @property
    def lines(self) -> list[str]:
        """A unified diff of the two as indented JSON."""
        return difference(self.old, self.new)


class Holds:
    """The one owner of the `tool_holds` table; accepting writes to the catalogue's, in the same transaction."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._now = now

    def standings(self) -> dict[str, Standing]:
        """Of each held tool, by name; a quarantine is told before a switch."""
        with snapshot(self._engine) as connection:
            rows = connection.execute(select(tool_holds).order_by(tool_holds.c.name, tool_holds.c.kind)).all()
        return {row.name: Standing(ToolState(row.kind), row.reason, _utc(row.since)) for row in rows}

    def observe(self, server: McpServer, offered: Mapping[str, Definition]) -> None:
        """Quarantines each tool of the server whose definition is not what it is pinned to, and releases the others.

        Args:
            offered: by the tools' names on the server.
        """
        # Two processes may see the same change at once: what one of them writes is what the other would have.
        with contextlib.suppress(IntegrityError), self._engine.begin() as connection:
            who = caller()
            for spec in registered_specs(connection):
                if spec.is_shared and who is not None and who.tenant != SHARED:
                    continue  # a tenant's connection says nothing of what is not the tenant's
                backend = spec.backend
                if isinstance(backend, McpBackend) and backend.server == server and backend.definition is not None:
                    self._compare(connection, spec.name, backend.definition, offered.get(backend.remote_name))

    def register_all(self, found: Survey, *, replace: bool = False) -> list[ToolSpec]:
        """Registers what an import found, all or none, and gives it as it is kept; what is flagged stays disabled until a
        person has read it.

        Raises: BadToolSpec, DuplicateTool: as `Catalogue.add_all`.
        """
        for spec in found.tools:
            check_spec(spec)
        names = ", ".join(repr(spec.name) for spec in found.tools)
        with one_at_a_time(names), self._engine.begin() as connection:
            added = register_all(connection, found.tools, replace=replace, now=self._now())
            for name, suspicion in {part.name: part for part in reversed(found.flagged)}.items():
                _release(connection, name, ToolState.DISABLED)
                self._hold(connection, name, ToolState.DISABLED, f"{suspicion.place} {suspicion.reason}")
        return added

    def change(self, name: str) -> ChangedDefinition:
        """What a quarantined tool was and is.

        Raises:
            UnknownTool: no tool has that name.
            NotHeld: it is not quarantined.
        """
        with snapshot(self._engine) as connection:
            return self._change(connection, active_spec(connection, name))

    def accept(self, name: str) -> ToolSpec:
        """Makes a new version of what the server offers now and ends the quarantine.

        Raises:
            UnknownTool: no tool has that name.
            NotHeld: it is not quarantined.
            BadToolSpec: what is offered cannot be registered.
        """
        with self._engine.begin() as connection:
            refuse_shared(connection, name)
            spec = active_spec(connection, name)
            change = self._change(connection, spec)
            if change.new is None:
                raise BadToolSpec(f"the server offers {name!r} no more, so there is nothing to accept; remove the tool")
            assert isinstance(spec.backend, McpBackend)  # nothing else is quarantined
            try:
                accepted = redefined(spec, spec.backend, change.new)
            except ValidationError as e:
                raise BadToolSpec(f"what the server offers for {name!r} is no tool: {_first(e)}") from e
            check_spec(accepted)
            register_all(connection, [accepted], replace=True, now=self._now())
            note(connection, "tool.accepted", name, sha256=accepted.sha256)
        return accepted

    def disable(self, name: str, *, reason: str = "switched off") -> None:
        """Raises: UnknownTool: no tool has that name."""
        with self._engine.begin() as connection:
            active_spec(connection, name)
            _release(connection, name, ToolState.DISABLED)
            self._hold(connection, name, ToolState.DISABLED, reason)
            note(connection, "tool.disabled", name)

    def enable(self, name: str) -> None:
        """Ends what `disable` began; a quarantine stays.

        Raises: UnknownTool: no tool has that name.
        """
        with self._engine.begin() as connection:
            active_spec(connection, name)
            _release(connection, name, ToolState.DISABLED)
            note(connection, "tool.enabled", name)

    def _compare(self, connection: Connection, name: str, pinned: Definition, now: Definition | None) -> None:
        row = _quarantine(connection, name)
        if now is not None and digest(now) == digest(pinned):
            _release(connection, name, ToolState.QUARANTINED)
        elif row is None or row.offered != now:
            _release(connection, name, ToolState.QUARANTINED)
            reason = "its server offers it no more" if now is None else "its server changed its definition"
            self._hold(connection, name, ToolState.QUARANTINED, reason, offered=now)

    def _change(self, connection: Connection, spec: ToolSpec) -> ChangedDefinition:
        row = _quarantine(connection, spec.name)
        if row is None or not isinstance(spec.backend, McpBackend) or spec.backend.definition is None:
            raise NotHeld(f"{spec.name!r} is not quarantined: its definition is the one that was accepted")
        old, new = spec.backend.definition, row.offered
        try:
            flagged = suspicions(redefined(spec, spec.backend, new)) if new is not None else []
        except ValidationError:  # accepting says what is wrong with it
            flagged = []
        return ChangedDefinition(old, new, tuple(flagged))

    def _hold(self, connection: Connection, name: str, state: ToolState, reason: str, *, offered: Any = None) -> None:
        row = {"name": name, "kind": state.value, "reason": reason, "offered": offered, "since": self._now()}
        connection.execute(insert(tool_holds).values(**row))


def _quarantine(connection: Connection, name: str) -> Row | None:
    where = (tool_holds.c.name == name) & (tool_holds.c.kind == ToolState.QUARANTINED.value)
    return connection.execute(select(tool_holds).where(where)).first()


def _release(connection: Connection, name: str, state: ToolState) -> None:
    where = (tool_holds.c.name == name) & (tool_holds.c.kind == state.value)
    connection.execute(delete(tool_holds).where(where))


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)  # SQLite keeps no offset
