"""The journal of tool calls: what was called, with what, and what came of it.

A call that may change something is written down, committed, before it leaves and completed after it, so that whatever
happens in between, no effect is without its record. A call that only reads leaves no effect to lose: its row is written
once, when it has ended: at once, or with whatever its turn writes next. So a call costs two commits, and a read one or none.

    started ──▶ ok, failed, rejected, timeout ...    what came of it (`CallStatus`)
       │
       └──────▶ unknown ──▶ ok, failed               a write whose end was not learnt, until a person settles it

The table itself is made by the database's migrations (or `tools.tables.metadata.create_all`), not here.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from tools import audit_trail
from tools.errors import BadRetention, CallNotFound, CallNotUnknown, JournalUnavailable
from tools.outcome import NO_CONTENT, CallResult, error_text, storable, unknown_effect
from tools.spec import CallStatus, SideEffect, ToolSpec
from tools.tables import tool_calls, tools
from tools.tenancy import fixed
from tools.transactions import snapshot

STARTED = "started"
GRACE = timedelta(seconds=60)
"""Beyond a call's own time limit: clocks that differ, a database that is slow to take the outcome."""

ReadRow: TypeAlias = Mapping[str, Any]
"""A row of the journal that is yet to be written: that of a call which only read."""

KEPT_AT_LEAST = timedelta(hours=24)
"""A row is what a repetition of its call is answered by; services keep keys about as long."""
_CHUNK = 100
"""Conditions of one statement."""

_calls = tool_calls.c
_VERSION = (
    select(tools.c.version)
    .where(tools.c.name == _calls.tool, tools.c.sha256 == _calls.tool_sha256)
    .order_by(tools.c.version.desc())
    .limit(1)
    .scalar_subquery()
    .label("version")
)
_ROWS = select(tool_calls, _VERSION)
_BY_ID = fixed(_ROWS.where(_calls.call_id == bindparam("its_id")))
_ADD = fixed(insert(tool_calls))
_COMPLETE = fixed(
    update(tool_calls).where(
        _calls.call_id == bindparam("its_id"),
        _calls.owner == bindparam("its_owner"),
        _calls.status.in_((STARTED, CallStatus.UNKNOWN.value)),
    )
)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One row."""

    seq: int
    """Order in which the rows were written."""
    call_id: str
    tool: str
    tool_sha256: str
    """Digest of the definition that was called."""
    version: int | None
    """Of the tool; None: that definition was never registered."""
    arguments: dict[str, Any]
    side_effect: SideEffect
    idempotency_key: str | None
    """What the tool is sent to tell a repetition by; None: it only reads."""
    outcome: CallStatus | None
    """None: it has started, and no end is on record."""
    owner: str
    """The process that runs it or ran it last."""
    attempts: int
    """How many times it was begun."""
    content: str | None
    """What the policy was shown."""
    latency_ms: float | None
    tenant: str
    """Whose turn made it."""
    started_at: datetime
    deadline: datetime
    """No process is still at it after this."""
    finished_at: datetime | None
    note: str | None
    """Of the person who settled it."""
    settled_at: datetime | None

    @property
    def status(self) -> str:
        return STARTED if self.outcome is None else self.outcome.value

    @property
    def result(self) -> CallResult:
        """What is on record of a call that is over."""
        assert self.outcome is not None
        return CallResult(self.outcome, self.content or "", self.latency_ms or 0.0)


class Journal:
    """The one owner of the `tool_calls` table. Raises `JournalUnavailable` from everything when the database fails."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._now = now

    def find(self, call_id: str) -> CallRecord | None:
        with self._snapshot() as connection:
            row = connection.execute(_BY_ID, {"its_id": call_id}).one_or_none()
        return None if row is None else _record(row)

    def get(self, call_id: str) -> CallRecord:
        """Raises: CallNotFound."""
        record = self.find(call_id)
        if record is None:
            raise CallNotFound(f"no tool call {call_id!r} is on record; GET /v1/tool-calls lists them")
        return record

    def begin(self, spec: ToolSpec, arguments: Mapping[str, Any], call_id: str, owner: str) -> bool:
        """Writes down that a call is about to leave. False: a call of that id is on record."""
        try:
            with self._transaction() as connection:
                connection.execute(_ADD, self._row(spec, arguments, call_id, owner))
        except IntegrityError:
            return False
        return True

    def begin_again(self, record: CallRecord, spec: ToolSpec, owner: str) -> bool:
        """Takes an unfinished call over. False: somebody else did, or it has ended."""
        statement = (
            update(tool_calls)
            .where(_is(record), _calls.status == STARTED, _calls.attempts == record.attempts)
            .values(owner=owner, attempts=record.attempts + 1, deadline=self._deadline(spec))
        )
        with self._transaction() as connection:
            return connection.execute(statement).rowcount == 1

    def complete(self, call_id: str, owner: str, result: CallResult) -> None:
        """Writes down what came of a call; also of one that had been given up as unknown, if nobody settled it."""
        with self._transaction() as connection:
            connection.execute(_COMPLETE, {"its_id": call_id, "its_owner": owner, **self._ending(result)})

    def record(
        self, spec: ToolSpec, arguments: Mapping[str, Any], call_id: str, owner: str, result: CallResult
    ) -> None:
        """Writes down a call that is over and had no row; where one came in between, that one stays."""
        with self._transaction() as connection:
            add_reads(connection, [self.read_row(spec, arguments, call_id, owner, result)])

    def read_row(
        self, spec: ToolSpec, arguments: Mapping[str, Any], call_id: str, owner: str, result: CallResult
    ) -> ReadRow:
        """What `add_reads` writes of a call that is over and had no row."""
        row = self._row(spec, arguments, call_id, owner) | self._ending(result)
        row["started_at"] -= timedelta(milliseconds=result.latency_ms)
        return row

    def give_up(self, record: CallRecord) -> bool:
        """An unfinished call becomes `unknown`: nobody will run it again. False: it has ended or was taken over."""
        result = CallResult(
            CallStatus.UNKNOWN,
            error_text(CallStatus.UNKNOWN, f"hone stopped during this call; {unknown_effect(record.tool)}"),
            0.0,
        )
        statement = (
            update(tool_calls)
            .where(_is(record), _calls.status == STARTED, _calls.attempts == record.attempts)
            .values(status=result.status.value, content=result.content, finished_at=self._now())
        )
        with self._transaction() as connection:
            return connection.execute(statement).rowcount == 1

    def unfinished(self) -> list[CallRecord]:
        """Calls that have started and have no end on record, oldest first; some may be under way."""
        with self._snapshot() as connection:
            return _all(connection, _calls.status == STARTED, newest_first=False)

    def list(
        self, *, status: str | None = None, tool: str | None = None, limit: int = 50, before: int | None = None
    ) -> "list[CallRecord]":
        """Newest first.

        Args:
            before: `seq` of the last row of the page before.
        """
        wanted: list[ColumnElement[bool]] = []
        if status is not None:
            wanted.append(_calls.status == status)
        if tool is not None:
            wanted.append(_calls.tool == tool)
        if before is not None:
            wanted.append(_calls.seq < before)
        with self._snapshot() as connection:
            return _all(connection, *wanted, limit=limit)

    def count_unknown(self) -> int:
        """How many calls wait for a person to find out what came of them."""
        # the status as text and no parameter: only so may the partial index answer
        is_unknown = text(f"status = '{CallStatus.UNKNOWN.value}'")
        with self._snapshot() as connection:
            return connection.scalar(select(func.count()).select_from(tool_calls).where(is_unknown)) or 0

    def settle(
        self, call_id: str, outcome: Literal[CallStatus.OK, CallStatus.FAILED], *, result: str = "", note: str = ""
    ) -> CallRecord:
        """A person has found out what came of an unknown call; a repetition of the call is told this from now on.

        Args:
            result: what the tool would have answered; for a failure, what went wrong.

        Raises:
            CallNotFound
            CallNotUnknown: its outcome is on record, or it is under way.
        """
        told = storable(result)
        if outcome is CallStatus.OK:
            content = told or NO_CONTENT
        else:
            content = error_text(outcome, told or "a person found that this did not happen")
        statement = (
            update(tool_calls)
            .where(_calls.call_id == call_id, _calls.status == CallStatus.UNKNOWN.value)
            .values(status=outcome.value, content=content, note=storable(note) or None, settled_at=self._now())
        )
        with self._transaction() as connection:
            settled = connection.execute(statement).rowcount == 1
            if settled:
                audit_trail.note(connection, "tool_call.settled", call_id, status=outcome.value)
        record = self.get(call_id)
        if not settled:
            raise CallNotUnknown(f"tool call {call_id!r} is {record.status}: only an unknown one can be settled")
        return record

    def purge(self, before: datetime) -> int:
        """Removes the calls that ended before an instant, and says how many; those that have not ended, and those whose end
        nobody knows yet, stay.

        Raises: BadRetention: a call that ended then may be repeated still.
        """
        check_retention(before, self._now())
        is_over = _calls.status.not_in((STARTED, CallStatus.UNKNOWN.value))
        ended = func.coalesce(_calls.settled_at, _calls.finished_at)
        with self._transaction() as connection:
            removed = connection.execute(delete(tool_calls).where(is_over, ended < before)).rowcount
            audit_trail.note(connection, "tool_calls.purged", before.isoformat(), removed=removed)
        return removed

    def _row(self, spec: ToolSpec, arguments: Mapping[str, Any], call_id: str, owner: str) -> dict[str, Any]:
        return {
            "call_id": call_id,
            "tool": spec.name,
            "tool_sha256": spec.sha256,
            "arguments": dict(arguments),
            "side_effect": spec.side_effect.value,
            "idempotency_key": None if spec.side_effect is SideEffect.READ else call_id,
            "status": STARTED,
            "owner": owner,
            "attempts": 1,
            "started_at": self._now(),
            "deadline": self._deadline(spec),
        }

    def _deadline(self, spec: ToolSpec) -> datetime:
        after = spec.postcondition.within_s if spec.postcondition is not None else 0.0
        return self._now() + timedelta(seconds=spec.timeout_s + after) + GRACE

    def _ending(self, result: CallResult) -> dict[str, Any]:
        return {
            "status": result.status.value,
            "content": result.content,
            "latency_ms": result.latency_ms,
            "finished_at": self._now(),
        }

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with _told(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with _told(), snapshot(self._engine) as connection:
            yield connection


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as e:
        cause = str(getattr(e, "orig", None) or e).strip().splitlines()[0]
        raise JournalUnavailable(
            f"the journal of tool calls failed: {cause}; check that the database runs and that there is room on its disk"
        ) from e


def check_retention(before: datetime, now: datetime) -> None:
    """Raises: BadRetention."""
    if before > now - KEPT_AT_LEAST:
        raise BadRetention(
            f"{before.isoformat()}: records are kept for {KEPT_AT_LEAST.total_seconds() / 3600:.0f} hours at least, since "
            "repetitions of a call are answered from them; give an earlier time"
        )


def add_reads(connection: Connection, rows: Sequence[ReadRow]) -> None:
    """Within the caller's transaction, writes down calls that are over and had no row; where one came in between, that one
    stays."""
    if rows:
        connection.execute(_add_absent(connection.dialect.name), list(rows))


@cache
def _add_absent(dialect: str) -> Any:
    add = postgresql.insert(tool_calls) if dialect == "postgresql" else sqlite.insert(tool_calls)
    return fixed(add.on_conflict_do_nothing(index_elements=[_calls.call_id]))


def open_calls(connection: Connection, prefixes: Sequence[str]) -> list[tuple[str, str]]:
    """Id and status of the calls that have not ended, or of whose end nothing is known, of all whose ids begin so."""
    found: list[tuple[str, str]] = []
    for chunk in _chunks(prefixes):
        is_open = _calls.status.in_((STARTED, CallStatus.UNKNOWN.value))
        query = select(_calls.call_id, _calls.status).where(is_open, _begins(chunk)).order_by(_calls.seq)
        found += [(row.call_id, row.status) for row in connection.execute(query)]
    return found


def remove_calls(connection: Connection, prefixes: Sequence[str]) -> int:
    """Within the caller's transaction, the rows of all calls whose ids begin so; none of them may be open."""
    return sum(connection.execute(delete(tool_calls).where(_begins(chunk))).rowcount for chunk in _chunks(prefixes))


def _chunks(prefixes: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(prefixes), _CHUNK):
        yield prefixes[start : start + _CHUNK]


def _begins(prefixes: Sequence[str]) -> ColumnElement[bool]:
    return or_(*(_calls.call_id.startswith(prefix, autoescape=True) for prefix in prefixes))


def is_same_call(record: CallRecord, spec: ToolSpec, arguments: Mapping[str, Any]) -> bool:
    """Whether a call is the one on record, and not another under its id."""
    return record.tool == spec.name and _canonical(record.arguments) == _canonical(dict(arguments))


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _is(record: CallRecord) -> ColumnElement[bool]:
    return and_(_calls.seq == record.seq, _calls.owner == record.owner)


def _all(
    connection: Connection, *wanted: ColumnElement[bool], limit: int | None = None, newest_first: bool = True
) -> list[CallRecord]:
    order = _calls.seq.desc() if newest_first else _calls.seq
    return [_record(row) for row in connection.execute(_ROWS.where(*wanted).order_by(order).limit(limit))]


def _record(row: Row[Any]) -> CallRecord:
    return CallRecord(
        seq=row.seq,
        call_id=row.call_id,
        tool=row.tool,
        tool_sha256=row.tool_sha256,
        version=row.version,
        arguments=row.arguments,
        side_effect=SideEffect(row.side_effect),
        idempotency_key=row.idempotency_key,
        outcome=None if row.status == STARTED else CallStatus(row.status),
        owner=row.owner,
        attempts=row.attempts,
        content=row.content,
        latency_ms=row.latency_ms,
        tenant=row.tenant,
        started_at=_utc(row.started_at),
        deadline=_utc(row.deadline),
        finished_at=_utc_or_none(row.finished_at),
        note=row.note,
        settled_at=_utc_or_none(row.settled_at),
    )


def _utc(value: datetime) -> datetime:
    """SQLite keeps no offset; what was written is UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _utc_or_none(value: datetime | None) -> datetime | None:
    return None if value is None else _utc(value)
