"""A row for each turn under way, the servers that run them, and in how many runs a turn came to its end."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "admissions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False, server_default="default"),
        sa.Column("user", sa.String(256)),
        sa.Column("trace_id", sa.String(64), nullable=False),
        sa.Column("thread_id", sa.String(256), nullable=False),
        sa.Column("approval_id", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("stop", sa.Boolean, nullable=False),
        sa.Column("plan", sa.JSON),
        sa.Column("caller", sa.String(128), nullable=False),
        sa.Column("key", sa.String(255)),
        sa.Column("body_sha256", sa.String(64)),
        sa.Column("counts_attempts", sa.Boolean, nullable=False),
        sa.Column("acted", sa.Boolean, nullable=False),
        sa.Column("reply", sa.JSON),
        sa.Column("dropped", sa.Integer, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.UniqueConstraint("caller", "key", name="uq_admissions_key"),
    )
    is_running = sa.text("state = 'running'")
    op.create_index(
        "uq_admissions_thread",
        "admissions",
        ["thread_id"],
        unique=True,
        sqlite_where=is_running,
        postgresql_where=is_running,
    )
    op.create_index("ix_admissions_body", "admissions", ["caller", "body_sha256", "created_at"])
    op.create_index("ix_admissions_thread_id", "admissions", ["thread_id"])
    op.create_index("ix_admissions_ended_at", "admissions", ["ended_at"])
    op.create_table(
        "servers",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("until", INSTANT, nullable=False),
    )
    op.add_column("traces", sa.Column("runs", sa.Integer, nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("traces", "runs")
    op.drop_table("servers")
    op.drop_table("admissions")
