"""First tables: tools, traces with their spans and verdicts, adapters with their deployment."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_tools()
    _create_traces()
    _create_spans()
    _create_verdicts()
    _create_adapters()


def downgrade() -> None:
    for table in ("transitions", "deployments", "adapters", "verdicts", "spans", "traces", "tools"):
        op.drop_table(table)


def _create_tools() -> None:
    op.create_table(
        "tools",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.UniqueConstraint("name", "version", name="uq_tools_name_version"),
    )


def _create_traces() -> None:
    op.create_table(
        "traces",
        sa.Column("seq", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("thread_id", sa.String(256), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("adapter", sa.String(128)),
        sa.Column("adapter_sha256", sa.String(64)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error", sa.JSON),
        sa.UniqueConstraint("id", name="uq_traces_id"),
    )
    op.create_index("ix_traces_thread_id", "traces", ["thread_id", "seq"])
    op.create_index("ix_traces_created_at", "traces", ["created_at", "seq"])
    op.create_index("ix_traces_recorded_at", "traces", ["recorded_at"])
    op.create_index("ix_traces_adapter", "traces", ["adapter"])


def _create_spans() -> None:
    op.create_table(
        "spans",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("trace_id", sa.String(64), nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("decision_kind", sa.String(16), nullable=False),
        sa.Column("messages", sa.JSON, nullable=False),
        sa.Column("tools", sa.JSON, nullable=False),
        sa.Column("prompt_token_ids", sa.JSON, nullable=False),
        sa.Column("completion_token_ids", sa.JSON, nullable=False),
        sa.Column("logprobs", sa.JSON, nullable=False),
        sa.Column("text", sa.JSON, nullable=False),
        sa.Column("decision", sa.JSON, nullable=False),
        sa.Column("violations", sa.JSON, nullable=False),
        sa.Column("outcomes", sa.JSON, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name="fk_spans_trace_id", ondelete="CASCADE"),
        sa.UniqueConstraint("trace_id", "index", name="uq_spans_trace_id"),
    )
    op.create_index("ix_spans_decision_kind", "spans", ["decision_kind"])


def _create_verdicts() -> None:
    op.create_table(
        "verdicts",
        sa.Column("span_id", sa.String(64), primary_key=True),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("ground_truth", sa.JSON),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("decided_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["span_id"], ["spans.id"], name="fk_verdicts_span_id", ondelete="CASCADE"),
    )
    op.create_index("ix_verdicts_outcome", "verdicts", ["outcome"])


def _create_adapters() -> None:
    op.create_table(
        "adapters",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("parent", sa.String(128)),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.UniqueConstraint("version", name="uq_adapters_version"),
    )
    op.create_table(
        "deployments",
        sa.Column("channel", sa.String(16), primary_key=True),
        sa.Column("adapter", sa.String(128)),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["adapter"], ["adapters.name"], name="fk_deployments_adapter"),
    )
    op.create_table(
        "transitions",
        sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("adapter", sa.String(128), nullable=False),
        sa.Column("from_state", sa.String(16)),
        sa.Column("to_state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["adapter"], ["adapters.name"], name="fk_transitions_adapter"),
    )
    op.create_index("ix_transitions_adapter", "transitions", ["adapter", "id"])
