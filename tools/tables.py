"""Where registered tools are kept: one row for each version of each tool."""

from sqlalchemy import JSON, Boolean, Column, DateTime, Integer, MetaData, String, Table, UniqueConstraint

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
