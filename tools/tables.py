"""Where tools are kept: one row for each version of each registered tool, one for each draft, one for each hold on a tool."""

from sqlalchemy import JSON, Boolean, Column, DateTime, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()

tools = Table(
    "tools",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("name", "version", name="uq_tools_name_version"),
)

tool_drafts = Table(
    "tool_drafts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

tool_holds = Table(
    "tool_holds",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("offered", JSON(none_as_null=True)),
    Column("since", DateTime(timezone=True), nullable=False),
)
