"""What policies got right on the cases of a tool."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "tool_measurements",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("tool", sa.String(64), nullable=False),
        sa.Column("tool_sha256", sa.String(64), nullable=False),
        sa.Column("cases", sa.String(64), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("adapter", sa.String(128)),
        sa.Column("results", sa.JSON, nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_tool_measurements_tool", "tool_measurements", ["tool", "id"])


def downgrade() -> None:
    op.drop_table("tool_measurements")
