"""Approvals: calls that wait for a person; and when a turn that waited went on."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("thread_id", sa.String(256), nullable=False),
        sa.Column("trace_id", sa.String(64), nullable=False),
        sa.Column("checkpoint_id", sa.String(64), nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("ask", sa.JSON, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("decided_at", INSTANT),
        sa.Column("decided_via", sa.String(32)),
        sa.Column("used_at", INSTANT),
        sa.Column("settled_at", INSTANT),
    )
    op.create_index("ix_approvals_thread_id", "approvals", ["thread_id", "created_at"])
    op.create_index("ix_approvals_digest", "approvals", ["digest"])
    has_begun = sa.text("used_at IS NOT NULL")
    op.create_index(
        "uq_approvals_begun",
        "approvals",
        ["digest"],
        unique=True,
        sqlite_where=has_begun,
        postgresql_where=has_begun,
    )
    op.create_index("ix_approvals_settled_at", "approvals", ["settled_at", "expires_at"])
    op.add_column("traces", sa.Column("resumed_at", INSTANT))


def downgrade() -> None:
    op.drop_column("traces", "resumed_at")
    op.drop_table("approvals")
