"""Imported tools that are not in service yet: the developer renames, re-describes and trims them, then publishes them.

A draft is one row that changes in place; versions begin when it is published. The agent never sees a draft.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from tools.catalogue import check_spec, one_at_a_time, refuse_shared, register_all
from tools.errors import DuplicateTool, UnknownTool
from tools.importers.survey import Skipped, Survey
from tools.spec import ToolSpec
from tools.tables import tool_drafts, tools
from tools.transactions import snapshot
from tools.trimming import Change, changed


@dataclass(frozen=True, slots=True)
class Draft:
    spec: ToolSpec
    source: str
    """Where it was imported from."""


class Drafts:
    """The one owner of the `tool_drafts` table; publishing writes to the catalogue's, in the same transaction."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._now = now

    def import_all(self, found: Survey, source: str, *, live: bool = False, replace: bool = False) -> Survey:
        """Keeps what an import found, in one transaction, and says what was kept.

        A tool whose name is taken is skipped with the others that the import could not use.

        Args:
            live: registers the tools at once instead of as drafts.
            replace: takes the place of drafts (with `live`: makes new versions of tools) of the same names.
        """
        fresh: list[ToolSpec] = []
        skipped = list(found.skipped)
        names = ", ".join(spec.name for spec in found.tools)
        with one_at_a_time(names), self._engine.begin() as connection:
            taken = _drafted(connection) | _registered(connection) if not replace else set[str]()
            for spec in found.tools:
                check_spec(spec)
                refuse_shared(connection, spec.name)
                if spec.name in taken:
                    skipped.append(Skipped(spec.name, f"the name {spec.name!r} is taken; give a prefix, or replace it"))
                    continue
                connection.execute(delete(tool_drafts).where(tool_drafts.c.name == spec.name))
                if not live:
                    self._insert(connection, spec, source)
                fresh.append(spec)
            kept = register_all(connection, fresh, replace=replace, now=self._now()) if live else fresh
        return Survey(tuple(kept), tuple(skipped))

    def list(self) -> list[Draft]:
        """By name."""
        with snapshot(self._engine) as connection:
            rows = connection.execute(select(tool_drafts).order_by(tool_drafts.c.name)).all()
        return [Draft(ToolSpec.model_validate(row.spec), row.source) for row in rows]

    def get(self, name: str) -> Draft:
        """Raises: UnknownTool: no draft has that name."""
        with snapshot(self._engine) as connection:
            return self._get(connection, name)

    def change(self, name: str, change: Change) -> ToolSpec:
        """
        Raises:
            UnknownTool: no draft has that name.
            BadToolSpec: the change does not fit the draft.
            DuplicateTool: another draft has the new name.
        """
        try:
            with self._engine.begin() as connection:
                spec = changed(self._get(connection, name).spec, change)
                check_spec(spec)
                values = {"name": spec.name, "spec": spec.model_dump(mode="json")}
                connection.execute(update(tool_drafts).where(tool_drafts.c.name == name).values(**values))
        except IntegrityError as e:
            raise DuplicateTool(f"another draft is named {change.name!r}; choose another name") from e
        return spec

    def publish(self, names: Sequence[str], *, replace: bool = False) -> "list[ToolSpec]":
        """Puts drafts into service, all or none; they are drafts no more.

        Raises:
            UnknownTool: one is no draft.
            DuplicateTool: a name is registered and `replace` is False.
        """
        with one_at_a_time(", ".join(names)), self._engine.begin() as connection:
            specs = [self._get(connection, name).spec for name in dict.fromkeys(names)]
            kept = register_all(connection, specs, replace=replace, now=self._now())
            connection.execute(delete(tool_drafts).where(tool_drafts.c.name.in_([spec.name for spec in specs])))
        return kept

    def discard(self, name: str) -> None:
        """Raises: UnknownTool: no draft has that name."""
        with self._engine.begin() as connection:
            self._get(connection, name)
            connection.execute(delete(tool_drafts).where(tool_drafts.c.name == name))

    def _insert(self, connection: Connection, spec: ToolSpec, source: str) -> None:
        row: Mapping[str, object] = {
            "name": spec.name,
            "spec": spec.model_dump(mode="json"),
            "source": source,
            "created_at": self._now(),
        }
        connection.execute(insert(tool_drafts).values(**row))

    def _get(self, connection: Connection, name: str) -> Draft:
        row = connection.execute(select(tool_drafts).where(tool_drafts.c.name == name)).first()
        if row is None:
            names = sorted(_drafted(connection))
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
            raise UnknownTool(f"no draft named {name!r}; {hint}")
        return Draft(ToolSpec.model_validate(row.spec), row.source)


def _drafted(connection: Connection) -> set[str]:
    return set(connection.execute(select(tool_drafts.c.name)).scalars())


def _registered(connection: Connection) -> set[str]:
    return set(connection.execute(select(tools.c.name).where(tools.c.active)).scalars())
