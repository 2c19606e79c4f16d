"""Heads of threads, by which a client that re-sends its conversation is recognised."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "thread_heads",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("thread_id", sa.String(256), nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_thread_heads_digest", "thread_heads", ["digest", "seq"])
    op.create_index("ix_thread_heads_thread_id", "thread_heads", ["thread_id", "seq"])


def downgrade() -> None:
    op.drop_table("thread_heads")
