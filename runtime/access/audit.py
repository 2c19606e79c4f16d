"""Reads the audit log; `tools.audit_trail` writes it."""

import builtins
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from runtime.database import reading
from tools.tables import audit

_c = audit.c


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int
    """Order of writing."""
    at: datetime
    """UTC."""
    tenant: str
    user: str | None
    via: str
    """How it was known who it was."""
    action: str
    """Noun and verb, as in `key.revoked`."""
    thing: str
    details: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"at": self.at.isoformat()}


class AuditLog:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list(
        self,
        *,
        action: str | None = None,
        user: str | None = None,
        thing: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> builtins.list[Entry]:
        """Newest first.

        Args:
            action: in full, or its noun alone (`key`).
            since, until: from the one on, before the other.
            before: `seq` of the last entry of the page before.
        """
        query = sa.select(audit).order_by(_c.seq.desc()).limit(limit)
        if action is not None:
            query = query.where(sa.or_(_c.action == action, _c.action.startswith(f"{action}.", autoescape=True)))
        equal = {"user": user, "thing": thing}
        query = query.where(*(_c[name] == value for name, value in equal.items() if value is not None))
        if since is not None:
            query = query.where(_c.at >= since.astimezone(UTC))
        if until is not None:
            query = query.where(_c.at < until.astimezone(UTC))
        if before is not None:
            query = query.where(_c.seq < before)
        with reading(self._engine) as connection:
            return [_entry(row) for row in connection.execute(query)]


def _entry(row: sa.Row[Any]) -> Entry:
    at = (
        row.at if row.at.tzinfo is not None else row.at.replace(tzinfo=UTC)
    )  # SQLite keeps no offset; what was written is UTC
    return Entry(row.seq, at, row.tenant, row.user, row.via, row.action, row.thing, row.details)
