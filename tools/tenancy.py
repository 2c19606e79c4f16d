"""Whose rows a statement may touch: the one place where a tenant enters a query.

Stores write their statements as if there were one tenant. Whoever acts is named once, where a request, a command or a task
begins (`acting`), and `guard` puts it into every statement of an engine: what is read comes from the tenant's rows alone, what
is changed or deleted is the tenant's, and what is added becomes the tenant's. The name travels with the context, so it is there
in threads and tasks that the request starts.

A table belongs to tenants when it has a column `tenant`, or a foreign key to one that does. Where nobody is named, as in the
learner and at the start of a server, all rows are in view; a request begins with `NOBODY`, under whom such tables cannot be
touched at all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, Engine, FromClause, Select, String, Table, and_, bindparam, event, exists, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import Delete, Insert, Update, visitors
from sqlalchemy.sql.elements import ClauseElement, ColumnClause, TextClause
from sqlalchemy.sql.selectable import Alias

DEFAULT = "default"
"""The tenant of a server that knows no others, and of all rows from before there were tenants."""
SHARED = "shared"
"""Whose tools every tenant sees; nobody's conversations are in it."""
NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""What a tenant may be called."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts."""

    tenant: str
    user: str | None = None
    """Within the tenant; None: nobody in particular."""
    via: str = "server"
    """How it is known who it is, for the audit log: `key hone_1a2b3c4d`, `oidc`, `open server`, `command line`."""
    is_confined: bool = False
    """Sees its own conversations and questions alone, not those of the tenant's other users."""
    keeps_shared: bool = False
    """Keeps what all tenants share: the server's operator."""


NOBODY = Caller("")
"""A request of which nothing is known yet."""


class NoTenant(Exception):
    """A statement touches tenants' rows on behalf of nobody: a defect of ours, so it is stopped."""


_caller: ContextVar[Caller | None] = ContextVar("hone_caller", default=None)
_S = TypeVar("_S", bound=ClauseElement)


def caller() -> Caller | None:
    """Who acts here; None: the server itself, with all tenants' rows in view."""
    return _caller.get()


@contextmanager
def acting(who: Caller | None) -> Iterator[None]:
    """Names who acts while the block runs, also in what it starts; None: the server itself."""
    before = _caller.set(who)
    try:
        yield
    finally:
        _caller.reset(before)


def within(tenant: str) -> Any:
    """The same person at work in another tenant, for a block; nothing changes for the server itself."""
    who = _caller.get()
    return acting(who if who is None else replace(who, tenant=tenant, is_confined=False))


def for_tenant(tenant: str) -> Any:
    """The server itself at work for a tenant, for a block."""
    return acting(Caller(tenant))


def guard(engine: Engine) -> None:
    """From here on the engine's statements are confined to whoever acts."""
    event.listen(engine, "before_execute", _before_execute, retval=True)


def fixed(statement: _S) -> _S:
    """A statement that is made once and run again and again, what differs being its parameters: it is confined once too, for
    whoever acts then, which saves most of what a short statement costs."""
    _fixed[statement] = {}
    return statement


_fixed: WeakKeyDictionary[ClauseElement, dict[bool, ClauseElement]] = WeakKeyDictionary()
"""The form of each for callers who are confined to their own conversations, and for others."""


def _fixed_form(statement: ClauseElement, forms: dict[bool, ClauseElement], who: Caller) -> ClauseElement:
    form = forms.get(who.is_confined)
    if form is None:
        form = forms[who.is_confined] = confined(statement, _whoever(is_confined=who.is_confined))
    return form


@cache
def _whoever(*, is_confined: bool) -> Caller:
    """Whoever acts when a statement is run."""
    tenant: Any = bindparam("hone_tenant", callable_=lambda: _acting().tenant, type_=String())
    user: Any = bindparam("hone_user", callable_=lambda: _acting().user, type_=String())
    return Caller(tenant, user, is_confined=is_confined)


def _acting() -> Caller:
    who = _caller.get()
    assert who is not None  # else the statement would have been run as it is
    return who


def _before_execute(connection: Any, statement: Any, multiparams: Any, params: Any, options: Any) -> Any:
    who = _caller.get()
    if who is not None and isinstance(statement, ClauseElement):
        forms = _fixed.get(statement) if who is not NOBODY else None
        statement = confined(statement, who) if forms is None else _fixed_form(statement, forms, who)
    return statement, multiparams, params


def confined(statement: _S, who: Caller) -> _S:
    """The statement as it may be run for somebody. Raises: NoTenant: for nobody it may not."""
    if isinstance(statement, TextClause):
        return statement  # the only ones are about the database itself; a test sees to that
    if isinstance(statement, Insert):
        return _insert(statement, who)
    if isinstance(statement, Update | Delete):
        target = statement.table
        condition = _condition(target, who) if isinstance(target, Table) else None
        inner = _replaced(statement, who, keep=target)
        return inner if condition is None else inner.where(condition)
    return _replaced(statement, who)


def belongs_to_tenants(table: Table) -> bool:
    return "tenant" in table.c or any(belongs_to_tenants(key.column.table) for key in table.foreign_keys)


def _insert(statement: Any, who: Caller) -> Any:
    table = statement.table
    if not belongs_to_tenants(table):
        return statement
    _require(table, who)
    given: dict[str, str | None] = {"tenant": who.tenant} if "tenant" in table.c else {}
    if "user" in table.c:
        given["user"] = who.user
    statement = statement.values(**given) if given else statement._generate()
    clause = getattr(statement, "_post_values_clause", None)
    if isinstance(clause, postgresql.dml.OnConflictDoUpdate | sqlite.dml.OnConflictDoUpdate):
        condition, before = _condition(table, who), clause.update_whereclause
        clause = clause._clone()
        clause.update_whereclause = condition if before is None else and_(before, condition)  # type: ignore[assignment,arg-type]
        statement._post_values_clause = clause
    return statement


def _replaced(statement: Any, who: Caller, *, keep: Any = None) -> Any:
    """The statement, reading the caller's part of each table."""

    views: dict[FromClause, Any] = {}

    def view_of(source: FromClause) -> Any:
        table = source.element if isinstance(source, Alias) else source
        if isinstance(table, Table) and source not in views:
            views[source] = _view(table, who, table.name if source is table else None)
        return views.get(source)

    def replace(element: Any, **_: Any) -> Any:
        if element is keep:
            return None
        if isinstance(element, FromClause):
            return view_of(element)
        if isinstance(element, ColumnClause) and element.table is not None and element.table is not keep:
            view = view_of(element.table)
            return None if view is None else view.c[element.key]
        return None

    return visitors.replacement_traverse(statement, {}, replace)


def _view(table: Table, who: Caller, name: str | None) -> Any:
    """A caller's part of a table, under a name; None: the table is nobody's."""
    if not belongs_to_tenants(table):
        return None
    _require(table, who)
    return _named_part(table, who) if name is not None else _part(table, who).subquery()


@lru_cache(maxsize=1024)
def _named_part(table: Table, who: Caller) -> Any:
    """Kept, since the columns of one are dear to make."""
    part = _part(table, who).subquery(table.name)
    assert len(part.c) == len(table.c)
    return part


@lru_cache(maxsize=1024)
def _part(table: Table, who: Caller) -> Select[Any]:
    condition = _condition(table, who, reads=True)
    assert condition is not None
    return select(table).where(condition)


def _condition(table: Table, who: Caller, *, reads: bool = False) -> ColumnElement[bool] | None:
    """What rows of the table must fulfil; None: it is nobody's."""
    if not belongs_to_tenants(table):
        return None
    _require(table, who)
    if "tenant" not in table.c:
        (key,) = [key for key in table.foreign_keys if belongs_to_tenants(key.column.table)]
        above = _condition(key.column.table, who, reads=reads)
        assert above is not None
        return exists().where(key.column == key.parent, above)
    is_own = table.c.tenant == who.tenant
    if reads and table.info.get("shared"):
        is_own = table.c.tenant.in_([who.tenant, SHARED])
    if who.is_confined and "user" in table.c:
        is_own = is_own & (table.c.user == who.user)
    return is_own


def _require(table: Table, who: Caller) -> None:
    if who is NOBODY:
        raise NoTenant(f"{table.name}: a request reached its rows before it was known whose it is")
