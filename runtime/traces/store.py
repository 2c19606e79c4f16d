"""The trace store: takes in finished turns and what was proved of them, and gives them back unchanged.

Synchronous; each write is one transaction. It knows no verifier and no learner.
"""

import builtins
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from runtime.database import Clock, reading, upsert, utc_now, writing
from runtime.errors import TraceNotFound
from runtime.traces.schema import Sighting, Span, Trace, TraceStatus, Verdict, VerdictOutcome
from runtime.traces.tables import spans, traces, verdicts
from tools.tenancy import fixed

_CHUNK = 500
"""Keys per IN clause; SQLite bounds the number of parameters."""

_TRACE_FIELDS = tuple(name for name in Trace.model_fields if name != "spans")
_SPAN_FIELDS = tuple(Span.model_fields)
_VERDICT_FIELDS = tuple(Verdict.model_fields)
_DELETE_SPANS = fixed(sa.delete(spans).where(spans.c.trace_id == sa.bindparam("trace")))
_ADD_SPANS = fixed(sa.insert(spans))


class TraceStore:
    """Traces in a database that `runtime.database.open_database` opened."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock
        insert = upsert(engine, traces)
        changed = {name: insert.excluded[name] for name in (*_TRACE_FIELDS, "recorded_at") if name != "id"}
        kept = insert.on_conflict_do_update(
            index_elements=["id"], set_=changed, where=traces.c.status == TraceStatus.WAITING.value
        )
        self._record = fixed(kept.returning(traces.c.seq))

    def record(self, trace: Trace) -> None:
        """Keeps a trace in full or not at all.

        A trace whose id is known already is left as it was, unless its turn was waiting then: that record is replaced,
        and what was judged of it is judged anew.
        """
        row = {name: getattr(trace, name) for name in _TRACE_FIELDS} | {"recorded_at": self._clock()}
        with writing(self._engine) as connection:
            is_kept = connection.scalar(self._record, row) is not None
            if is_kept:
                connection.execute(_DELETE_SPANS, {"trace": trace.id})
            if is_kept and trace.spans:
                connection.execute(_ADD_SPANS, [_span_row(span) for span in trace.spans])

    def get(self, trace_id: str) -> Trace:
        """Raises: TraceNotFound."""
        with reading(self._engine) as connection:
            found = _load(connection, [trace_id])
        if trace_id not in found:
            raise TraceNotFound(f"no trace {trace_id!r}: it was never recorded here, or it was erased")
        return found[trace_id]

    def list(self, *, thread_id: str | None = None, limit: int = 50, before: str | None = None) -> builtins.list[Trace]:
        """A page of traces, newest first.

        Args:
            thread_id: only this thread's.
            before: id of the last trace of the page before; the page holds what is older.

        Raises:
            TraceNotFound: no trace has the id `before`.
        """
        query = sa.select(traces.c.id).order_by(traces.c.created_at.desc(), traces.c.seq.desc()).limit(limit)
        if thread_id is not None:
            query = query.where(traces.c.thread_id == thread_id)
        with reading(self._engine) as connection:
            if before is not None:
                place = sa.select(traces.c.created_at, traces.c.seq).where(traces.c.id == before)
                cursor = connection.execute(place).one_or_none()
                if cursor is None:
                    raise TraceNotFound(f"no trace {before!r} to continue from: start again without `before`")
                query = query.where(_is_older(*cursor))
            return _in_order(connection, connection.scalars(query).all())

    def thread(self, thread_id: str) -> builtins.list[Trace]:
        """All turns of a thread, oldest first; empty when there is no such thread."""
        query = sa.select(traces.c.id).where(traces.c.thread_id == thread_id)
        with reading(self._engine) as connection:
            ids = connection.scalars(query.order_by(traces.c.created_at, traces.c.seq)).all()
            return _in_order(connection, ids)

    def thread_ids(self, *, changed_since: datetime | None = None) -> builtins.list[str]:
        """Threads in order of their first trace; `changed_since`: only those with a trace recorded then or later."""
        query = sa.select(traces.c.thread_id).group_by(traces.c.thread_id).order_by(sa.func.min(traces.c.seq))
        if changed_since is not None:
            since = sa.bindparam(None, changed_since, traces.c.recorded_at.type)
            query = query.having(sa.func.max(traces.c.recorded_at) >= since)
        with reading(self._engine) as connection:
            return [*connection.scalars(query)]

    def record_verdicts(self, judged: Iterable[Verdict]) -> None:
        """Keeps one verdict for each span: a later one takes the place of an earlier one. All are kept or none.

        Raises:
            TraceNotFound: a verdict names a span that is not here.
        """
        rows = [verdict.model_dump(mode="python") for verdict in judged]
        if not rows:
            return
        insert = upsert(self._engine, verdicts)
        changed = {name: insert.excluded[name] for name in _VERDICT_FIELDS if name != "span_id"}
        statement = insert.on_conflict_do_update(index_elements=["span_id"], set_=changed)
        with writing(self._engine) as connection:
            _require_spans(connection, [row["span_id"] for row in rows])
            connection.execute(statement, rows)

    def verdict(self, span_id: str) -> Verdict | None:
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(verdicts).where(verdicts.c.span_id == span_id)).one_or_none()
        return None if row is None else _verdict(row)

    def thread_verdicts(self, thread_id: str) -> dict[str, Verdict]:
        """Span id → verdict, for the spans of one thread that have one."""
        query = sa.select(verdicts).join_from(verdicts, spans).join(traces).where(traces.c.thread_id == thread_id)
        with reading(self._engine) as connection:
            return {row.span_id: _verdict(row) for row in connection.execute(query)}

    def sightings(self, tool: str, *, limit: int = 10_000) -> builtins.list[Sighting]:
        """Decisions that name a tool, or whose verdict does, newest turn first; `limit` keeps the newest.

        The name is looked for in the stored JSON, so one that only occurs as a value is among them too.
        """
        quoted = f'"{tool}"'
        named = sa.or_(
            *(
                sa.cast(column, sa.Text).contains(quoted, autoescape=True)
                for column in (spans.c.decision, verdicts.c.ground_truth)
            )
        )
        query = (
            sa.select(
                spans.c.trace_id,
                traces.c.adapter,
                traces.c.created_at,
                spans.c.decision,
                spans.c.violations,
                spans.c.outcomes,
                verdicts.c.outcome.label("verdict"),
                verdicts.c.reason,
                verdicts.c.ground_truth,
            )
            .select_from(spans)
            .join(traces)
            .outerjoin(verdicts)
            .where(named)
            .order_by(traces.c.created_at.desc(), traces.c.seq.desc(), spans.c["index"])
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [Sighting.model_validate(dict(row)) for row in connection.execute(query).mappings()]

    def judged_spans(
        self,
        *,
        outcomes: Collection[VerdictOutcome] = (VerdictOutcome.VERIFIED, VerdictOutcome.REFUTED),
        limit: int | None = None,
    ) -> builtins.list[tuple[Trace, Span, Verdict]]:
        """Spans with a verdict of these outcomes, newest turn first; `limit` keeps the newest."""
        query = (
            sa.select(verdicts, spans.c.trace_id)
            .join_from(verdicts, spans)
            .join(traces)
            .where(verdicts.c.outcome.in_([outcome.value for outcome in outcomes]))
            .order_by(traces.c.created_at.desc(), traces.c.seq.desc(), spans.c["index"])
            .limit(limit)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
            found = _load(connection, [*dict.fromkeys(row.trace_id for row in rows)])
        judged = []
        for row in rows:
            trace = found[row.trace_id]
            span = next(span for span in trace.spans if span.id == row.span_id)
            judged.append((trace, span, _verdict(row)))
        return judged


def _is_older(created_at: datetime, seq: int) -> sa.ColumnElement[bool]:
    same_instant = sa.and_(traces.c.created_at == created_at, traces.c.seq < seq)
    return sa.or_(traces.c.created_at < created_at, same_instant)


def _span_row(span: Span) -> dict[str, Any]:
    return span.model_dump(mode="json") | {"decision_kind": span.decision.kind.value}


def _verdict(row: sa.Row[Any]) -> Verdict:
    return Verdict.model_validate({name: getattr(row, name) for name in _VERDICT_FIELDS})


def _in_order(connection: Connection, ids: Sequence[str]) -> list[Trace]:
    found = _load(connection, ids)
    return [found[trace_id] for trace_id in ids]


def _load(connection: Connection, ids: Sequence[str]) -> dict[str, Trace]:
    loaded: dict[str, Trace] = {}
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        of_trace: dict[str, list[dict[str, Any]]] = {}
        wanted = sa.select(*(spans.c[name] for name in _SPAN_FIELDS)).where(spans.c.trace_id.in_(chunk))
        for row in connection.execute(wanted.order_by(spans.c.trace_id, spans.c["index"])).mappings():
            of_trace.setdefault(row["trace_id"], []).append(dict(row))
        for row in connection.execute(sa.select(traces).where(traces.c.id.in_(chunk))).mappings():
            fields = {name: row[name] for name in _TRACE_FIELDS}
            loaded[row["id"]] = Trace.model_validate(fields | {"spans": of_trace.get(row["id"], [])})
    return loaded


def _require_spans(connection: Connection, span_ids: Sequence[str]) -> None:
    known: set[str] = set()
    for start in range(0, len(span_ids), _CHUNK):
        chunk = span_ids[start : start + _CHUNK]
        known.update(connection.scalars(sa.select(spans.c.id).where(spans.c.id.in_(chunk))))
    unknown = [span_id for span_id in span_ids if span_id not in known]
    if unknown:
        raise TraceNotFound(f"no span {unknown[0]!r}: record its trace before its verdict")
