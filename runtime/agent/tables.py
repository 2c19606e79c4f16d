"""How turns under way and the ends of conversations lie in the database: so that no turn is lost with its server, and a client
which sends something again finds its turn, or its thread."""

import sqlalchemy as sa

from runtime.database import UtcDateTime
from tools.tables import tenant
from tools.tenancy import DEFAULT

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

_is_running = sa.text("state = 'running'")

admissions = sa.Table(
    "admissions",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    tenant(),
    sa.Column("user", sa.String(256), doc="whose turn it is"),
    sa.Column("trace_id", sa.String(64), nullable=False),
    sa.Column("thread_id", sa.String(256), nullable=False),
    sa.Column(
        "approval_id", sa.String(64), doc="the question after whose answer the turn goes on; NULL: from its beginning"
    ),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", sa.String(64), nullable=False, doc="the server process that runs it or ran it last"),
    sa.Column("runs", sa.Integer, nullable=False, doc="how many times it was begun or taken up"),
    sa.Column("stop", sa.Boolean, nullable=False, doc="a newer message of the thread wants it to end"),
    sa.Column("plan", sa.JSON(none_as_null=True), doc="what it takes to begin anew; NULL once it is over"),
    sa.Column("caller", sa.String(128), nullable=False),
    sa.Column("key", sa.String(255), doc="the client's idempotency key; NULL: it gave none, or may use it again"),
    sa.Column("body_sha256", sa.String(64)),
    sa.Column("counts_attempts", sa.Boolean, nullable=False, doc="the client tells whether it sends something again"),
    sa.Column("acted", sa.Boolean, nullable=False, doc="a call may have been made"),
    sa.Column("reply", sa.JSON(none_as_null=True)),
    sa.Column("dropped", sa.Integer, nullable=False),
    sa.Column("error", sa.JSON(none_as_null=True), doc="kind and message of what it failed with"),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("ended_at", UtcDateTime()),
    sa.UniqueConstraint("caller", "key", name="uq_admissions_key"),
    # one turn at a time runs in each thread, whatever the process
    sa.Index("uq_admissions_thread", "thread_id", unique=True, sqlite_where=_is_running, postgresql_where=_is_running),
    sa.Index("ix_admissions_body", "caller", "body_sha256", "created_at"),
    sa.Index("ix_admissions_thread_id", "thread_id"),
    sa.Index("ix_admissions_ended_at", "ended_at"),
)
"""One row for each run of a turn: from its beginning, or from where it waited for a person."""

servers = sa.Table(
    "servers",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("until", UtcDateTime(), nullable=False, doc="taken for dead after this, by the database's clock"),
)
"""The server processes that share a PostgreSQL database (`runtime.presence`)."""

system_prompts = sa.Table(
    "system_prompts",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True, server_default=DEFAULT),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("set_at", UtcDateTime(), nullable=False),
    info={"shared": True},
)
