"""How traces, spans and verdicts lie in the database.

The whole of a record is kept, bulk as JSON; beside it stand columns for what is searched by.
"""

import sqlalchemy as sa

from runtime.database import UtcDateTime
from tools.tables import tenant

metadata = sa.MetaData()

SerialKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""A growing integer key; SQLite counts up only in a plain INTEGER."""

traces = sa.Table(
    "traces",
    metadata,
    sa.Column("seq", SerialKey, primary_key=True, autoincrement=True, doc="order of recording"),
    sa.Column("id", sa.String(64), nullable=False),
    tenant(),
    sa.Column("user", sa.String(256), doc="whose turn it was; null: nobody in particular"),
    sa.Column("thread_id", sa.String(256), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("recorded_at", UtcDateTime(), nullable=False, doc="when the store took it in, after the turn ended"),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("adapter", sa.String(128)),
    sa.Column("adapter_sha256", sa.String(64)),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("resumed_at", UtcDateTime(), doc="when a turn that had waited for a person went on"),
    sa.Column("runs", sa.Integer, nullable=False, server_default="1"),
    sa.Column("error", sa.JSON(none_as_null=True), doc="a string; JSON because it may hold what text columns cannot"),
    sa.UniqueConstraint("id", name="uq_traces_id"),
    sa.Index("ix_traces_thread_id", "thread_id", "seq"),
    sa.Index("ix_traces_created_at", "created_at", "seq"),
    sa.Index("ix_traces_tenant", "tenant", "created_at", "seq"),
    sa.Index("ix_traces_recorded_at", "recorded_at"),
    sa.Index("ix_traces_adapter", "adapter"),
)

spans = sa.Table(
    "spans",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("trace_id", sa.ForeignKey("traces.id", name="fk_spans_trace_id", ondelete="CASCADE"), nullable=False),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("decision_kind", sa.String(16), nullable=False),
    sa.Column("messages", sa.JSON, nullable=False),
    sa.Column("tools", sa.JSON, nullable=False),
    sa.Column("prompt_token_ids", sa.JSON, nullable=False),
    sa.Column("completion_token_ids", sa.JSON, nullable=False),
    sa.Column("logprobs", sa.JSON, nullable=False),
    sa.Column("text", sa.JSON, nullable=False, doc="a string; JSON because a model may write a NUL"),
    sa.Column("decision", sa.JSON, nullable=False),
    sa.Column("violations", sa.JSON, nullable=False),
    sa.Column("outcomes", sa.JSON, nullable=False),
    sa.Column("latency_ms", sa.Double, nullable=False),
    sa.UniqueConstraint("trace_id", "index", name="uq_spans_trace_id"),
    sa.Index("ix_spans_decision_kind", "decision_kind"),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("span_id", sa.ForeignKey("spans.id", name="fk_verdicts_span_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("ground_truth", sa.JSON(none_as_null=True)),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("decided_at", UtcDateTime(), nullable=False),
    sa.Index("ix_verdicts_outcome", "outcome"),
)
