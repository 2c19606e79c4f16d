"""The journal: a row for each call of a tool, written before the call and completed after it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

OPEN = sa.text("status IN ('started', 'unknown')")


def upgrade() -> None:
    op.create_table(
        "tool_calls",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("call_id", sa.String(256), nullable=False),
        sa.Column("tool", sa.String(64), nullable=False),
        sa.Column("tool_sha256", sa.String(64), nullable=False),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("side_effect", sa.String(16), nullable=False),
        sa.Column("idempotency_key", sa.String(256)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("content", sa.Text),
        sa.Column("latency_ms", sa.Float),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("note", sa.Text),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("call_id", name="uq_tool_calls_call_id"),
    )
    op.create_index("ix_tool_calls_open", "tool_calls", ["status", "seq"], sqlite_where=OPEN, postgresql_where=OPEN)


def downgrade() -> None:
    op.drop_table("tool_calls")
