"""Where tools are kept: a row for each version of a tool, each draft, each hold, each version of a secret (sealed), each call."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from tools.tenancy import DEFAULT

metadata = MetaData()


def tenant() -> Column[str]:
    """Whose the row is; `tools.tenancy` keeps the tenants apart. Rows of no one in particular are the default tenant's."""
    return Column("tenant", String(64), nullable=False, server_default=DEFAULT)


def _keyed_tenant() -> Column[str]:
    return Column("tenant", String(64), primary_key=True, server_default=DEFAULT)


_SHARED = {"shared": True}
"""Read by every tenant where the rows are the shared ones."""

tools = Table(
    "tools",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    tenant(),
    Column("name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("tenant", "name", "version", name="uq_tools_tenant_name_version"),
    info=_SHARED,
)

tool_drafts = Table(
    "tool_drafts",
    metadata,
    _keyed_tenant(),
    Column("name", String(64), primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    _keyed_tenant(),
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("key_id", String(16), doc="names the master key; null, as the two below, once the version is retired"),
    Column("data_key", LargeBinary),
    Column("sealed", LargeBinary),
    Column("hosts", JSON, doc="where it may be sent; null: set before that was asked"),
    Column("tools", JSON, doc="names of those that may send it; empty or null: any"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("retired_at", DateTime(timezone=True)),
)

tool_calls = Table(
    "tool_calls",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    tenant(),
    Column("call_id", String(256), nullable=False),
    Column("tool", String(64), nullable=False),
    Column("tool_sha256", String(64), nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("side_effect", String(16), nullable=False),
    Column("idempotency_key", String(256)),
    Column("status", String(16), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("content", Text),
    Column("latency_ms", Float),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("deadline", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
    Column("note", Text),
    Column("settled_at", DateTime(timezone=True)),
    UniqueConstraint("call_id", name="uq_tool_calls_call_id"),
    Index(
        "ix_tool_calls_open",
        "status",
        "seq",
        sqlite_where=text("status IN ('started', 'unknown')"),
        postgresql_where=text("status IN ('started', 'unknown')"),
    ),
)
"""One row for each call of a tool; `tools.journal` says what the columns mean."""
tool_holds = Table(
    "tool_holds",
    metadata,
    _keyed_tenant(),
    Column("name", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("offered", JSON(none_as_null=True)),
    Column("since", DateTime(timezone=True), nullable=False),
    info=_SHARED,
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    tenant(),
    Column("user", String(256), doc="within the tenant; null: nobody in particular"),
    Column("via", String(64), nullable=False, doc="how it was known who it was: a key, a token, the command line"),
    Column("action", String(64), nullable=False),
    Column("thing", String(256), nullable=False, doc="what it was done to, by its name or id"),
    Column("details", JSON, nullable=False, doc="never a secret, never what a user said"),
    Column("at", DateTime(timezone=True), nullable=False),
    Index("ix_audit_tenant", "tenant", "seq"),
)
"""Who did what; rows are only added, which the database itself sees to (`tools.audit_trail`)."""
