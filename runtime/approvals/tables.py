"""How approvals lie in the database."""

import sqlalchemy as sa

from runtime.database import UtcDateTime
from tools.tables import tenant

metadata = sa.MetaData()
_has_begun = sa.text("used_at IS NOT NULL")

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    tenant(),
    sa.Column("user", sa.String(256), doc="who is asked: whose turn it was"),
    sa.Column("thread_id", sa.String(256), nullable=False),
    sa.Column("trace_id", sa.String(64), nullable=False),
    sa.Column("checkpoint_id", sa.String(64), nullable=False),
    sa.Column("length", sa.Integer, nullable=False),
    sa.Column("ask", sa.JSON, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, doc="of the ask, for the one statement that uses it up"),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("expires_at", UtcDateTime(), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("decided_at", UtcDateTime()),
    sa.Column("decided_via", sa.String(32)),
    sa.Column("used_at", UtcDateTime()),
    sa.Column("settled_at", UtcDateTime()),
    sa.Index("ix_approvals_thread_id", "thread_id", "created_at"),
    sa.Index("ix_approvals_digest", "digest"),
    # no call begins twice
    sa.Index("uq_approvals_begun", "digest", unique=True, sqlite_where=_has_begun, postgresql_where=_has_begun),
    sa.Index("ix_approvals_settled_at", "settled_at", "expires_at"),
)
