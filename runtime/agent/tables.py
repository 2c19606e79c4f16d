"""How the ends of conversations lie in the database, so that a client which re-sends one finds its thread."""

import sqlalchemy as sa

from runtime.database import UtcDateTime
from tools.tables import tenant

metadata = sa.MetaData()

thread_heads = sa.Table(
    "thread_heads",
    metadata,
    sa.Column(
        "seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True, doc="order"
    ),
    tenant(),
    sa.Column("user", sa.String(256)),
    sa.Column("digest", sa.String(64), nullable=False, doc="of the conversation as the client saw it"),
    sa.Column("thread_id", sa.String(256), nullable=False),
    sa.Column("length", sa.Integer, nullable=False, doc="messages of the thread at that point, as the policy saw them"),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_thread_heads_digest", "digest", "seq"),
    sa.Index("ix_thread_heads_thread_id", "thread_id", "seq"),
)
